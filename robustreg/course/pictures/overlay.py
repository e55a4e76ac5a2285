"""Parts laid over each other: the same columns of their histories in the same panels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ...report.wording import short
from ..result import PartResult, RecipeResult
from .frame import (
    CHANCE,
    column,
    dashes_of,
    draw_chance,
    draw_lines,
    finished,
    has,
    heading,
    label_of,
    log_axis,
    looks,
    nothing,
    page_of,
    panels,
    seeds_words,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recipe import Recipe


@dataclass(frozen=True)
class Column:
    """A panel's worth of the history.

    Attributes:
        key: of the history.
        says: the label of the axis, with its unit.
        share: whether it is a share, shown in % from 0 to 100, with what guessing gets.
        log: whether the axis is logarithmic.
        mark: "highest", "lowest" or "full" (the first epoch at 100 %): where a dot is put; "" for none.
    """

    key: str
    says: str
    share: bool = False
    log: bool = False
    mark: str = ""


class Line(NamedTuple):
    """How a part is drawn, here and in the other form."""

    color: str
    dashes: Any
    marker: str


MARKS = {"highest": "the best epoch", "lowest": "the lowest error", "full": "the first epoch at 100 %"}


def overlay(
    results: RecipeResult,
    recipe: Recipe | None,
    what: str,
    columns: Sequence[Column],
    *sentences: str,
    named: Callable[[PartResult], str] = label_of,
) -> Figure:
    """Draw `columns` by epoch, a row of panels a form and a line a part, the same colour and dashes in both forms.

    Args:
        results: of the recipe.
        recipe: for the title and the flaws.
        what: is shown, for the title.
        columns: of the history, a panel each.
        sentences: for the text below.
        named: what a part is called; parts of one name look alike.
    """
    from ...report.page import legend_columns, style

    columns = [one for one in columns if any(has(one.key)(part) for form in results.forms for part in form.parts)]
    rows = panels(results, lambda part: any(has(one.key)(part) for one in columns))
    if not rows or not columns:
        return nothing(what, results, recipe, "no run finished an epoch")
    look = looks(results, named)
    known = [part for row in rows for _, part in row]
    used = list(dict.fromkeys(map(named, known)))
    lines = {name: Line(look[name].color, dashes_of(at), look[name].marker) for at, name in enumerate(used)}
    says = [short(name, 30) for name in used]
    marks = list(dict.fromkeys(MARKS[one.mark] for one in columns if one.mark))
    note = (
        *sentences,
        f"Dots: {' or '.join(marks)}, of the mean over seeds." if marks else "",
        seeds_words(known, max(map(len, rows))),
        CHANCE if any(one.share for one in columns) else "",
    )
    width = max(6.4, 0.8 + 2.9 * len(columns))
    beside = legend_columns(says, width - 0.3)
    legend = 0.3 + 0.7 * -(-len(says) // beside)
    with style():
        page = page_of(what, results, recipe, note=note, width=width, height=2.4 * len(rows), legend=legend)
        grid = page.subplots(len(rows), len(columns), squeeze=False, sharex="row")
        for row, cells in zip(rows, grid, strict=True):
            for axes, one in zip(cells, columns, strict=True):
                _panel(axes, [(part, lines[named(part)]) for _, part in row], one)
                if row is rows[0]:
                    axes.set_title(one.says, loc="left", size=8, weight="bold")
            cells[0].set_ylabel(heading(row[0].form))
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
        page.legend_above([_handle(lines[name]) for name in used], says, columns=beside)
    return page


def _panel(axes: Axes, parts: list[tuple[PartResult, Line]], one: Column) -> None:
    scale = 100.0 if one.share else 1.0
    for part, line in parts:
        draw_lines(axes, part, one.key, line.color, line.dashes, part.label, scale=scale, crowd=len(parts))
        at = marked(part, one)
        if at is not None:
            axes.plot(at[0], scale * at[1], line.marker, color=line.color, ms=5, mec="white", mew=0.6, zorder=5)
    if one.share:
        draw_chance(axes, parts[0][0], parts[0][0].val_images)
        axes.set_ylim(-3, 103)
    if one.log:
        log_axis(axes)


def marked(part: PartResult, one: Column) -> tuple[int, float] | None:
    """Return epoch and value of what is marked: of the mean over seeds, for as long as every run goes on."""
    runs = [found for run in finished(part) if (found := column(run, one.key))]
    shared = sorted(set.intersection(*map(set, runs))) if runs and one.mark else []
    mean = {epoch: sum(found[epoch] for found in runs) / len(runs) for epoch in shared}
    if not mean:
        return None
    if one.mark == "full":
        return next(((epoch, value) for epoch, value in mean.items() if value >= 1), None)
    best = min if one.mark == "lowest" else max
    epoch = best(mean, key=lambda epoch: mean[epoch])
    return epoch, mean[epoch]


def _handle(line: Line) -> Artist:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=line.color, ls=line.dashes, lw=1.6)
