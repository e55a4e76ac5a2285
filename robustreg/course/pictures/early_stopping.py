"""Early stopping: where validation was best, how long was waited, and which network was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...report.palette import INK, LINE
from ...report.wording import short
from ..result import PartResult, RecipeResult, SeedResult
from .frame import (
    CHANCE,
    TRAIN,
    VAL,
    column,
    draw_chance,
    finished,
    has,
    heading,
    nothing,
    page_of,
    panels,
    thinned,
)
from .learning_curves import best_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recipe import Recipe

WHAT = "when to stop"


def early_stopping(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw accuracy in % by epoch of one run a part, the epoch that is kept, the wait after it, and what was saved."""
    from ...report.page import caption, style

    rows = panels(results, has("val_accuracy"))
    if not rows:
        return nothing(WHAT, results, recipe, "no run finished an epoch")
    columns = max(map(len, rows))
    note = (
        "Line: the epoch of the best validation accuracy, whose network is kept where training stops early; shaded: the"
        " epochs waited for a better one; hatched: epochs that were not needed. One run each, of the first seed; ticks"
        " at the top: the best epochs of all seeds.",
        CHANCE,
    )
    with style():
        page = page_of(WHAT, results, recipe, note=note, width=max(6.4, 0.8 + 3.0 * columns),
                       height=2.4 * len(rows), legend=1)  # fmt: skip
        grid = page.subplots(len(rows), columns, squeeze=False, sharey=True)
        for row, cells in zip(rows, grid, strict=True):
            for cell in cells[len(row) :]:
                cell.remove()
            cells[0].set_ylabel(f"accuracy (%)\n{heading(row[0].form)}")
            for axes, (_, part) in zip(cells, row, strict=False):
                _panel(axes, part)
                caption(axes, short(part.label, 36), _words(part, _shown(part)))
        for axes in grid[-1][: len(rows[-1])]:
            axes.set_xlabel("epoch")
        entries = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in page.axes]
        handles = {label: handle for pairs in entries for handle, label in pairs}
        page.legend_above(list(handles.values()), list(handles))
    return page


def _shown(part: PartResult) -> SeedResult:
    return next(run for run in finished(part) if column(run, "val_accuracy"))


def _panel(axes: Axes, part: PartResult) -> None:
    run = _shown(part)
    for key, (color, dashes), label in (("train_accuracy", TRAIN, "training"), ("val_accuracy", VAL, "validation")):
        found = column(run, key)
        epochs = thinned(list(found))
        axes.plot(epochs, [100 * found[at] for at in epochs], color=color, ls=dashes, lw=1.2, label=label)
    best, last, planned = _epochs(part, run)
    axes.axvline(best, color=INK, lw=1.0, zorder=1, label="best epoch")
    if last < planned:
        axes.axvspan(best, last, color=VAL[0], alpha=0.12, lw=0, zorder=0, label="waited")
        axes.axvspan(last, planned, facecolor="none", edgecolor=LINE, hatch="///", lw=0, zorder=0, label="not needed")
    ticks = [epoch for epoch, _ in best_epochs(part)]
    axes.plot(ticks, [101.5] * len(ticks), "|", color=INK, ms=6, mew=0.9, zorder=4, label="best of each seed")
    draw_chance(axes, part, part.val_images)
    axes.set_ylim(-3, 105)
    axes.set_xlim(0, planned + 1)


def _epochs(part: PartResult, run: SeedResult) -> tuple[int, int, int]:
    """The best epoch, the last that was trained, and the last that was planned; all from 1."""
    found = column(run, "val_accuracy")
    last = max(found)
    planned: Any = part.settings.get("epochs", last)
    return max(found, key=lambda epoch: found[epoch]), last, max(last, int(planned))


def _words(part: PartResult, run: SeedResult) -> str:
    best, last, planned = _epochs(part, run)
    value = 100 * column(run, "val_accuracy")[best]
    ended = f"stopped after {last} of {planned}" if last < planned else f"all {planned} epochs"
    return f"best {value:.1f} % in epoch {best}, {ended}"
