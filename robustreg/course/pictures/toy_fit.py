"""The toy regression: the fitted function at a few epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...report.palette import BASELINE, BLUE, INK, SKY
from ...report.wording import short
from ..result import PartResult, RecipeResult, Snapshot
from .frame import finished, heading, nothing, page_of, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recipe import Recipe

WHAT = "the fitted function"
MOMENTS = 4
LEARNED = "learned from"


def toy_fit(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw points, truth and the fitted function while it is learned: a row of panels a part, a panel an epoch."""
    from ...report.page import caption, style

    rows = [panel for row in panels(results, fitted) for panel in row]
    if not rows:
        return nothing(WHAT, results, recipe, "no run kept the function it had fitted")
    note = (
        "Dots: what was learned from; dashed: the truth; line: what the network computes, of the first seed; pale: of"
        " the other seeds.",
    )
    with style():
        page = page_of(WHAT, results, recipe, note=note, width=7.4, height=1.8 * len(rows), legend=1)
        grid = page.subplots(len(rows), MOMENTS, squeeze=False, sharex=True, sharey=True)
        for (form, part), cells in zip(rows, grid, strict=True):
            cells[0].set_ylabel(f"{short(part.label, 24)}\n{heading(form)}")
            for axes, at in zip(cells, moments(part), strict=False):
                draw_fit(axes, part, at)
                caption(axes, f"epoch {_first(part)[at].epoch:,}")
            for axes in cells[len(moments(part)) :]:
                axes.remove()
            cells[0].set_ylim(*limits([part for _, part in rows]))
        for axes in grid[-1][: len(moments(rows[-1].part))]:
            axes.set_xlabel("x")
        page.legend_above(*grid[0][0].get_legend_handles_labels())
    return page


def fitted(part: PartResult) -> bool:
    """Return whether a part kept the functions it fitted."""
    return part.points is not None and any(run.snapshots for run in finished(part))


def _first(part: PartResult) -> tuple[Snapshot, ...]:
    return next(run.snapshots for run in finished(part) if run.snapshots)


def moments(part: PartResult) -> list[int]:
    """Return the positions of up to `MOMENTS` snapshots: the first, the last, and some early ones between."""
    last = len(_first(part)) - 1
    return sorted({0, min(1, last), max(min(2, last), last // 4), last})


def draw_fit(axes: Axes, part: PartResult, at: int) -> list[Any]:
    """Draw points, truth and the functions at snapshot `at`; return the functions' lines, the first seed's last."""
    points = part.points
    assert points is not None
    axes.plot(points.grid, points.truth, color=BASELINE.color, ls=(0, (4, 2)), lw=1.0, label="truth", zorder=2)
    axes.plot(points.x, points.y, "o", color=INK, ms=3.5, mec="white", mew=0.4, label=LEARNED, zorder=4)
    first, *others = [run.snapshots for run in finished(part) if run.snapshots]
    lines = []
    for snapshots in reversed(others):
        lines += axes.plot(points.grid, _at(snapshots, at), color=SKY, lw=0.6, alpha=0.6, zorder=1)
    lines += axes.plot(points.grid, _at(first, at), color=BLUE, lw=1.6, label="network", zorder=3)
    return lines


def limits(parts: Sequence[PartResult]) -> tuple[float, float]:
    """Return the limits of y: of all points and functions of the first seeds, with a little air."""
    values = [y for part in parts if part.points is not None for y in (*part.points.y, *part.points.truth)]
    values += [y for part in parts for snapshot in _first(part) for y in snapshot.outputs]
    air = 0.08 * (max(values) - min(values)) or 1.0
    return min(values) - air, max(values) + air


def _at(snapshots: Sequence[Snapshot], at: int) -> tuple[float, ...]:
    return snapshots[min(at, len(snapshots) - 1)].outputs
