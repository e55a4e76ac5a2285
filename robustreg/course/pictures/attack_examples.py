"""Images under attack: clean, what was changed, the two together, and what a defence makes of it, with predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...report.palette import BLUE, ORANGE
from ...report.wording import short
from ..result import PartResult, RecipeResult
from .frame import Panel, class_names, finished, heading, nothing, page_of, panels

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recipe import Recipe

WHAT = "images under attack"
MOST_IMAGES = 2
MOST_ROWS = 6


class Row(NamedTuple):
    """One image (C, H, W) in [0, 1]: clean, under attack and, if there is one, as the defence hands it on."""

    panel: Panel
    clean: np.ndarray
    adversarial: np.ndarray
    squeezed: np.ndarray | None
    label: int
    said_clean: int
    said: int


def attack_examples(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw a row an image: clean, the change times a factor, adversarial and squeezed, with what the network says.

    The images are those in `SeedResult.examples`, of the first finished run of each part, of the corrected form where
    there is one. `squeezed` is there, or is what the part's regularizers put in front of a network make of the image.
    """
    from ...report.page import style

    forms = panels(results, lambda part: bool(_kept(part)))
    drawn = [row for panel in forms[-1] for row in _rows(panel)][:MOST_ROWS] if forms else []
    if not drawn:
        return nothing(WHAT, results, recipe, "no run kept images under attack")
    factor = amplification([row.adversarial - row.clean for row in drawn])
    squeezed = any(row.squeezed is not None for row in drawn)
    headings = ["clean", f"change × {factor:g}", "adversarial", *(["squeezed"] if squeezed else [])]
    note = (
        f"Change: mid-grey where there is none, times {factor:g}; adversarial: clean plus change.",
        "Squeezed: the adversarial image as the defence hands it to the network." if squeezed else "",
        "✓ the label, ✗ another class. Each from the first run of its part.",
    )
    with style():
        page = page_of(WHAT, results, recipe, note=note, width=max(6.4, 1.7 + 1.25 * len(headings)),
                       height=1.45 * len(drawn) + 0.2)  # fmt: skip
        grid = page.subplots(len(drawn), len(headings), squeeze=False)
        for row, cells in zip(drawn, grid, strict=True):
            _draw(cells, row, factor)
            form, part = row.panel
            cells[0].set_ylabel(
                f"{short(part.label, 24)}\n{heading(form)}", rotation=0, ha="right", va="center", size=8
            )
        for cell, said in zip(grid[0], headings, strict=True):
            cell.set_title(said, size=8, weight="bold")
    return page


def amplification(changes: Sequence[np.ndarray]) -> float:
    """Return what the largest change is multiplied by so that it becomes black or white."""
    largest = max(float(abs(change).max()) for change in changes)
    factor = 0.5 / largest if 0 < largest < math.inf else 1.0
    return math.floor(factor + 1e-6) if factor >= 2 else round(factor, 1)


def _kept(part: PartResult) -> Any:
    return next((run.examples for run in finished(part) if len(run.examples.get("clean", ()))), None)


def _rows(panel: Panel) -> list[Row]:
    import numpy as np

    kept = _kept(panel.part)
    squeezed = kept.get("squeezed") or _handed_on(panel.part, kept["adversarial"]) or [None] * len(kept["clean"])
    names = ("clean", "adversarial", "label", "predicted_clean", "predicted")
    found = []
    for clean, moved, label, said_clean, said, after in zip(*(kept[name] for name in names), squeezed, strict=False):
        third = None if after is None else np.asarray(after, dtype=float)
        both = np.asarray(clean, dtype=float), np.asarray(moved, dtype=float)
        found.append(Row(panel, *both, third, int(label), int(said_clean), int(said)))
    return found[:MOST_IMAGES]


def _handed_on(part: PartResult, images: Any) -> Any:
    """What the network sees of images behind a defence that stands in front of it; None where nothing does."""
    import torch
    from torch import nn

    from ...plugins import discover
    from ...resolve import arms_of
    from ...spec import parse

    try:
        members = [one for one in arms_of([parse(part.spec)], discover())[0].regularizers if one.at_inference]
        network: Any = nn.Identity()
        for member in members:
            network = member.finish(network) or network  # type: ignore[operator]
        with torch.no_grad():
            seen = network.eval()(torch.as_tensor(images, dtype=torch.float32)).tolist()
    except Exception:  # of a plugin that is gone, or that needs a whole network: the picture has one column less
        return None
    return seen if members else None


def _draw(cells: Sequence[Axes], row: Row, factor: float) -> None:
    change = 0.5 + factor * (row.adversarial - row.clean)
    images = [row.clean, change, row.adversarial, row.squeezed]
    said = [row.said_clean, None, row.said if row.squeezed is None else None, row.said]
    names = class_names(row.panel.part)
    for axes, image, number in zip(cells, images, said, strict=False):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        for side in axes.spines.values():
            side.set_visible(False)
        if image is None:
            continue
        axes.imshow(_pixels(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if number is not None:
            right = number == row.label
            axes.set_xlabel(
                f"{'✓' if right else '✗'} says {_name(names, number)}", color=BLUE if right else ORANGE, size=7
            )
    cells[1].set_xlabel(f"label {_name(names, row.label)}", size=7)


def _name(names: Sequence[str], number: int) -> str:
    return short(names[number] if 0 <= number < len(names) else number, 14)


def _pixels(image: np.ndarray) -> Any:
    """An image as matplotlib takes it: (H, W, 3) for three channels, else the mean of the channels."""
    import numpy as np

    clipped = np.clip(np.nan_to_num(image), 0, 1)
    return clipped.transpose(1, 2, 0) if clipped.shape[0] == 3 else clipped.mean(0)
