"""The pictures of the course, one a file: each is a function from what came of a recipe to a figure.

`PICTURES` names them, as `pictures = [...]` of a recipe does. A picture takes a `RecipeResult` and, for its title and
the flaws under it, the `Recipe`; it never trains, and never fails for what is missing. What they look at in a
`SeedResult`:

    history          all that go by epoch
    initial_norms, final_norms   `norm_bars`
    numbers          `attack_curves`: those that are curves by eps, `fgsm_curve` and `robust_curve` among them
    examples         `attack_examples`: and, where a defence changes images, `squeezed` (n, C, H, W) beside the others
    snapshots        `toy_fit`, `animation`: see `course.recorder`
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UsageError, suggest
from .attack_curves import attack_curves
from .attack_examples import attack_examples
from .early_stopping import early_stopping
from .learning_curves import learning_curves
from .learning_rates import learning_rates
from .memorization import memorization
from .norm_bars import norm_bars
from .norm_curve import norm_curve
from .readings import readings, selection
from .toy_fit import toy_fit
from .validation_overlay import validation_overlay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..recipe import Recipe
    from ..result import RecipeResult

PICTURES: dict[str, Callable[..., Figure]] = {
    picture.__name__: picture
    for picture in (
        attack_curves,
        attack_examples,
        early_stopping,
        learning_curves,
        learning_rates,
        memorization,
        norm_bars,
        norm_curve,
        readings,
        selection,
        toy_fit,
        validation_overlay,
    )
}
ANIMATION = "animation"
NAMES = (*PICTURES, ANIMATION)


def draw(recipe: Recipe, results: RecipeResult, folder: Path) -> list[Path]:
    """Draw the pictures that a recipe names into `folder`, as `RECIPE-PICTURE.png` and `.svg`, an animation as `.gif`.

    A picture with nothing to show is left out, and so is what an earlier course drew under its name.

    Args:
        recipe: whose `pictures` are drawn, with its flaws under them.
        results: what came of it, in one form or both.
        folder: made if it is not there.

    Raises:
        UsageError: for a picture that there is not.
        OSError: when the folder cannot be written to.
    """
    from ...report import page
    from ...study import write_whole

    written: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    for name in recipe.pictures:
        stem = folder / f"{recipe.name}-{name}"
        if name == ANIMATION:
            from ..animation import write_gif
            from .frame import panels
            from .toy_fit import fitted

            gif = stem.with_suffix(".gif")
            gif.unlink(missing_ok=True)
            written += [write_gif(results, gif, recipe)] if panels(results, fitted) else []
            continue
        if name not in PICTURES:
            raise UsageError(f"no picture is called {name!r}; there are {', '.join(NAMES)}.{suggest(name, NAMES)}")
        figure = PICTURES[name](results, recipe)
        blank = getattr(figure, "blank", False)
        page.settle(figure)
        for ending, save in (("png", page.png), ("svg", page.svg)):
            path = stem.with_suffix(f".{ending}")
            if blank:
                path.unlink(missing_ok=True)
                continue
            write_whole(path, save(figure))
            written.append(path)
    return written
