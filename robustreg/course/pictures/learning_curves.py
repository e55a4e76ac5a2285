"""Training and validation accuracy by epoch, with the best epoch and what guessing gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...report.palette import INK
from ...report.wording import short
from ..result import PartResult, RecipeResult
from .frame import (
    CHANCE,
    TRAIN,
    VAL,
    classes_of,
    column,
    draw_chance,
    draw_lines,
    finished,
    has,
    heading,
    nothing,
    page_of,
    panels,
    seeds_words,
)
from .overlay import Column, overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recipe import Recipe

WHAT = "training and validation"
ERRORS = (
    Column("train_error", "training error (mean square)", log=True),
    Column("val_error", "validation error (mean square)", log=True, mark="lowest"),
)


def learning_curves(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw accuracy in % by epoch, a row of panels a form and a panel a part, with a line at the best epoch.

    Of a regression: its errors, a line a part.
    """
    from ...report.page import caption, style

    if any(has("train_error")(part) for form in results.forms for part in form.parts):
        return overlay(results, recipe, "errors", ERRORS)
    rows = panels(results, has("train_accuracy"))
    if not rows:
        return nothing(WHAT, results, recipe, "no run finished an epoch")
    columns = max(map(len, rows))
    known = [part for row in rows for _, part in row]
    with style():
        page = page_of(
            WHAT, results, recipe, width=max(6.4, 0.8 + 2.2 * columns), height=2.25 * len(rows), legend=1,
            note=(
                "Upright: the epoch of the best validation accuracy, on average over seeds; above each panel the"
                " largest value there and the value after the last epoch. The largest of many is too large.",
                seeds_words(known), CHANCE if any(classes_of(part) > 1 for part in known) else "",
            ),
        )  # fmt: skip
        grid = page.subplots(len(rows), columns, squeeze=False, sharey=True)
        for row, cells in zip(rows, grid, strict=True):
            for cell in cells[len(row) :]:
                cell.remove()
            cells[0].set_ylabel(f"accuracy (%)\n{heading(row[0].form)}")
            for axes, (_, part) in zip(cells, row, strict=False):
                _panel(axes, part)
                caption(axes, short(part.label, 32), _best_words(part))
        for axes in grid[-1][: len(rows[-1])]:
            axes.set_xlabel("epoch")
        page.legend_above(*grid[0][0].get_legend_handles_labels())
    return page


def best_epochs(part: PartResult, key: str = "val_accuracy") -> list[tuple[int, float]]:
    """Return epoch (from 1) and value of the first best value of every finished run."""
    columns = [found for run in finished(part) if (found := column(run, key))]
    return [max(found.items(), key=lambda pair: pair[1]) for found in columns]


def _panel(axes: Axes, part: PartResult) -> None:
    draw_lines(axes, part, "train_accuracy", *TRAIN, "training")
    draw_lines(axes, part, "val_accuracy", *VAL, "validation")
    draw_chance(axes, part, part.val_images)
    best = best_epochs(part)
    if best:
        axes.axvline(sum(epoch for epoch, _ in best) / len(best), color=INK, lw=0.9, ls=":", zorder=1)
    axes.set_ylim(-3, 103)


def _best_words(part: PartResult) -> str:
    best = best_epochs(part)
    last = [list(found.values())[-1] for run in finished(part) if (found := column(run, "val_accuracy"))]
    if not best:
        return ""
    mean = 100 * sum(value for _, value in best) / len(best)
    return f"best {mean:.1f} %, last {100 * sum(last) / len(last):.1f} %"
