"""Example images: clean, what the attack changed, and the two together, with what the model says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ..palette import BLUE, ORANGE
from ..series import finished, spread, values
from ..wording import eps_text, joined, left_out, more, short, subtitle

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...study import Comparison

TITLE = "Adversarial examples"
MOST_ARMS, MOST_IMAGES = 6, 3
_LEFT = (0.0, 1.1, 2.2)  # where the three images of a triplet begin, in widths of an image


class Triplet(NamedTuple):
    """A clean image (C, H, W) in [0, 1], its adversarial one, and the names of three classes."""

    clean: np.ndarray
    adversarial: np.ndarray
    label: str
    said_clean: str
    said: str


def examples(comparison: Comparison) -> Figure:
    """Draw up to 3 triplets of images for the baseline and up to 5 other arms, each from the arm's first seed."""
    from ..page import Page, empty, style

    found = {arm: _triplets(comparison, arm) for arm in comparison.arms}
    known = [arm for arm in comparison.arms if found[arm]]
    shown = _chosen(comparison, known)
    about = subtitle(comparison)
    if not shown:
        return empty(TITLE, about, "Nothing to show: no run on true labels kept example images.")
    number = max(len(found[arm]) for arm in shown)
    factor = _amplification([triplet for arm in shown for triplet in found[arm]])
    eps = eps_text(comparison.study["headline_eps"])
    rest = more(known, shown)
    note = joined(
        f"Each triplet: clean; the change × {factor:g}, mid-grey where there is none; adversarial, within eps {eps}.",
        left_out(comparison, [arm for arm in comparison.arms if not found[arm]], "no images kept"),
        f"Rows: the arms whose robust accuracy is furthest from the baseline's. {rest}" if rest else "",
    )
    with style():
        width, height = max(7.4, 1.5 + 2.9 * number), 1.25 * len(shown)
        page = Page(TITLE, about, note, width=width, height=height)
        cells = page.subplots(len(shown), number, squeeze=False)
        for row, arm in zip(cells, shown, strict=True):
            for axes in row:
                axes.set_axis_off()
            for axes, triplet in zip(row, found[arm], strict=False):
                _draw(axes, triplet, factor)
            row[0].text(-0.08, 0.4, short(arm, 20), ha="right", va="center", size=8, weight="bold")
    return page


def _chosen(comparison: Comparison, known: list[str]) -> list[str]:
    """The baseline and the arms whose robust accuracy is furthest from it, in the order of the study."""

    def distance(arm: str) -> float:
        both = (arm, comparison.arms[0])
        mine, base = (spread(values(comparison, each, "robust_accuracy").values()) for each in both)
        return abs(mine.mean - base.mean) if mine is not None and base is not None else 0.0

    first = [arm for arm in known if arm == comparison.arms[0]]
    others = sorted((arm for arm in known if arm not in first), key=distance, reverse=True)
    kept = {*first, *others[: MOST_ARMS - len(first)]}
    return [arm for arm in known if arm in kept]


def _triplets(comparison: Comparison, arm: str) -> list[Triplet]:
    import numpy as np

    kept = next((run.details["examples"] for run in finished(comparison, arm) if run.details.get("examples")), None)
    if not kept:
        return []
    classes = list(comparison.study.get("classes", ()))

    def name(number: int) -> str:
        return short(classes[number] if 0 <= number < len(classes) else number, 14)

    rows = zip(
        kept["clean"], kept["adversarial"], kept["label"], kept["predicted_clean"], kept["predicted"], strict=False
    )
    return [
        Triplet(np.asarray(clean, dtype=float), np.asarray(moved, dtype=float), *map(name, map(int, numbers)))
        for clean, moved, *numbers in list(rows)[:MOST_IMAGES]
    ]


def _amplification(triplets: list[Triplet]) -> float:
    """What the largest change is multiplied by so that it becomes black or white."""
    largest = max(float(abs(each.adversarial - each.clean).max()) for each in triplets)
    factor = 0.5 / largest if 0 < largest < math.inf else 1.0
    return math.floor(factor + 1e-6) if factor >= 2 else round(factor, 1)


def _draw(axes: Axes, triplet: Triplet, factor: float) -> None:
    change = 0.5 + factor * (triplet.adversarial - triplet.clean)
    for image, left in zip((triplet.clean, change, triplet.adversarial), _LEFT, strict=True):
        pixels = _pixels(image)
        tall = pixels.shape[0] / pixels.shape[1]
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=(left, left + 1, 0, tall))
    axes.set(xlim=(_LEFT[0], _LEFT[-1] + 1.25), ylim=(0, tall))  # and a gap before the next triplet
    axes.text(0.5, tall + 0.03, f"label {triplet.label}", ha="center", va="bottom", size=7)
    for left, said in ((_LEFT[0], triplet.said_clean), (_LEFT[-1], triplet.said)):
        right = said == triplet.label
        text, color = f"{'✓' if right else '✗'} says {said}", BLUE if right else ORANGE
        axes.text(left + 0.5, -0.04, text, ha="center", va="top", size=7, color=color)


def _pixels(image: Any) -> Any:
    """An image as matplotlib takes it: (H, W, 3) for three channels, else the mean of the channels."""
    import numpy as np

    clipped = np.clip(np.nan_to_num(image), 0, 1)
    return clipped.transpose(1, 2, 0) if clipped.shape[0] == 3 else clipped.mean(0)
