"""Norms layer by layer, before and after training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ...report.palette import BLUE, INK
from ...report.series import Spread, gathered, spread
from ...report.wording import short
from ..result import PartResult, RecipeResult
from .frame import finished, heading, nothing, page_of, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recipe import Recipe

WHAT = "norms before and after training"
MOST_LAYERS = 8


def norm_bars(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw the Frobenius norm of each layer's weights, hollow before and filled after training, a panel a part."""
    from ...report.page import caption, style

    rows = panels(results, lambda part: any(run.initial_norms for run in finished(part)))
    if not rows:
        return nothing(WHAT, results, recipe, "no run has the norms of its weights")
    columns = max(map(len, rows))
    note = (
        "Bars: Frobenius norms of the weights, layer by layer from the input on, without biases. Total: of all"
        " parameters together, biases included.",
        _bars_words(part for row in rows for _, part in row),
    )
    with style():
        page = page_of(WHAT, results, recipe, note=note, width=max(6.4, 0.8 + 2.1 * columns),
                       height=2.1 * len(rows), legend=1)  # fmt: skip
        alike = len({part.model.partition(":")[0] for row in rows for _, part in row}) == 1
        grid = page.subplots(len(rows), columns, squeeze=False, sharey=alike)
        for row, cells in zip(rows, grid, strict=True):
            for cell in cells[len(row) :]:
                cell.remove()
            cells[0].set_ylabel(f"Frobenius norm\n{heading(row[0].form)}")
            for axes, (_, part) in zip(cells, row, strict=False):
                _panel(axes, part)
                caption(axes, short(part.label, 32), _total_words(part))
        for axes in page.axes:
            axes.set_ylim(bottom=0)
        entries = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in page.axes]
        handles = {label: handle for pairs in entries for handle, label in pairs}
        page.legend_above(list(handles.values()), list(handles))
    return page


def _panel(axes: Axes, part: PartResult) -> None:
    before = gathered(run.initial_norms for run in finished(part))
    after = gathered(run.final_norms for run in finished(part)) if _trained(part) else {}
    layers = [name for name in before if not name.endswith("bias")][:MOST_LAYERS]
    at = list(range(len(layers)))
    aside = 0.19 if after else 0.0
    axes.bar([x - aside for x in at], [before[name].mean for name in layers], 0.34, facecolor="white", edgecolor=INK,
             lw=0.8, label="before", zorder=2)  # fmt: skip
    known = [(x, after[name]) for x, name in zip(at, layers, strict=True) if name in after]
    if known:
        axes.bar([x + 0.19 for x, _ in known], [each.mean for _, each in known], 0.34, color=BLUE, label="after",
                 zorder=2)  # fmt: skip
        for x, each in known:
            axes.plot([x + 0.19] * 2, [each.low, each.high], color=INK, lw=1.0, zorder=3)
    axes.set_xticks(at, [f"layer {x + 1}" for x in at])
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_xlim(-0.6, max(len(layers), 3) - 0.4)


def total(norms: Mapping[str, float]) -> float:
    """Return the norm of all parameters together."""
    return math.sqrt(sum(norm**2 for norm in norms.values()))


def _total_words(part: PartResult) -> str:
    ends: list[Spread | None] = [
        spread(total(norms) for run in finished(part) if (norms := getattr(run, name)))
        for name in ("initial_norms", "final_norms")[: 2 if _trained(part) else 1]
    ]
    said = [f"{each.mean:.4g}" for each in ends if each is not None]
    return f"total {' → '.join(said)}"


def _trained(part: PartResult) -> bool:
    return any(dict(run.final_norms) != dict(run.initial_norms) for run in finished(part))


def _bars_words(parts: Iterable[PartResult]) -> str:
    most = max(len(finished(part)) for part in parts)
    if most < 2:
        return "One seed each."
    return f"Black: {'95 % t interval over' if most > 2 else 'minimum to maximum of 2'} seeds."
