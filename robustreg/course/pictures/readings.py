"""The numbers of a recipe, form beside form: what was printed, and what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...report.palette import AMBER, BLUE, GREEN, INK, ORANGE, PINK, SKY
from ...report.wording import short
from ..readings import in_words, is_share
from ..result import FAITHFUL, Reading, RecipeResult
from .frame import classes_of, heading, nothing, page_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recipe import Recipe

WHAT = "form beside form"
PRINTED = ((ORANGE, "D"), (PINK, "v"), (AMBER, "p"))
MARKS = ((BLUE, "o"), (GREEN, "s"), (SKY, "^"))
MOST = 3  # panels


class Series(NamedTuple):
    """One reading of one form, over its parts."""

    label: str
    color: str
    marker: str
    hollow: bool
    values: dict[str, Reading]


def readings(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw every number that the forms look at, a row a part and a panel a unit; the printed form's hollow."""
    return _draw(results, recipe, WHAT, {"share": "accuracy (%)"}, every=True)


def selection(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw the accuracies by which parts were chosen beside those by which they were judged, a row a part."""
    note = "The larger of two noisy numbers is too large on average: what chose a part flatters it."
    return _draw(results, recipe, "chosen and judged", {"share": "accuracy (%)"}, note, every=False)


def _draw(
    results: RecipeResult, recipe: Recipe | None, what: str, units: dict[str, str], *sentences: str, every: bool
) -> Figure:
    from ...report.page import style

    panels = _panels(results, every)
    labels = list(dict.fromkeys(label for series in panels.values() for one in series for label in one.values))
    if not labels:
        return nothing(what, results, recipe, "no form has a number")
    note = (
        *sentences,
        "Hollow: as the tutorial did it; filled: corrected.",
        "Bars: 95 % t interval over seeds; no bar: one seed.",
    )
    said = [one.label for series in panels.values() for one in series if one.label]
    width = max(6.4, 1.8 + 2.4 * len(panels))
    columns = 2 if 2 * (0.55 + 0.066 * max(map(len, said), default=0)) <= width - 0.3 else 1
    with style():
        legend = 0.3 + 0.7 * -(-len(said) // columns) if said else 0
        page = page_of(what, results, recipe, note=note, width=width, height=0.9 + 0.44 * len(labels), legend=legend)
        cells = page.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, (unit, series) in zip(cells, panels.items(), strict=True):
            for at, one in enumerate(series):
                _draw_series(
                    axes,
                    one,
                    labels,
                    100.0 if unit == "share" else 1.0,
                    min(0.2, 0.8 / len(series)) * (at - (len(series) - 1) / 2),
                )
            axes.set_xlabel(units.get(unit, unit))
            first = results.forms[0].parts[0]
            if unit == "share" and classes_of(first) > 1:
                axes.axvline(100 / classes_of(first), color=INK, lw=0.7, ls=(0, (1, 2)), zorder=1)
            for at in range(1, len(labels), 2):
                axes.axhspan(at - 0.5, at + 0.5, color="#f4f4f4", lw=0, zorder=0)
            axes.grid(False, axis="y")
            axes.tick_params(axis="y", length=0)
            axes.margins(x=0.08)
        cells[0].set_yticks(range(len(labels)), [short(label, 34) for label in labels])
        cells[0].set_ylim(len(labels) - 0.5, -0.5)
        handles = {label: one for axes in cells for one, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        if handles:
            page.legend_above(list(handles.values()), list(handles), columns=columns)
    return page


def _panels(results: RecipeResult, every: bool) -> dict[str, list[Series]]:
    """What is drawn in each panel: accuracies share one, and every other kind of number has its own."""
    found: dict[str, list[Series]] = {}
    for form in results.forms:
        printed = form.form == FAITHFUL
        names = list(dict.fromkeys(one.name for part in form.parts for one in part.readings))
        for name in names:
            unit = "share" if is_share(name) else in_words(name)
            if not every and unit != "share":
                continue
            before = sum(one.hollow == printed for one in found.get(unit, ()))
            color, marker = (PRINTED if printed else MARKS)[before % 3]
            values = {part.label: one for part in form.parts for one in part.readings if one.name == name}
            label = f"{heading(form)}: {in_words(name)}" if unit == "share" else ""
            found.setdefault(unit, []).append(Series(label, color, marker, printed, values))
    return dict(list(found.items())[:MOST])


def _draw_series(axes: Axes, series: Series, labels: list[str], scale: float, shift: float) -> None:
    label: str | None = series.label or None
    for part, one in series.values.items():
        y = labels.index(part) + shift
        if one.low is not None and one.high is not None:
            ends = [min(100.0, max(0.0, scale * end)) if scale == 100 else end for end in (one.low, one.high)]
            axes.plot(ends, [y, y], color=series.color, lw=1.6, alpha=0.6, zorder=2)
        inside = "white" if series.hollow else series.color
        axes.plot(scale * one.mean, y, series.marker, color=series.color, mfc=inside, ms=5.5, mew=1.2, ls="", zorder=3,
                  label=label)  # fmt: skip
        label = None
