"""Weight norms: what the regularizers did to each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..palette import BASELINE, BLUE
from ..series import Spread, finished, gathered, spread_words
from ..wording import joined, left_out, more, short, subtitle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...study import Comparison

TITLE = "Weight norms before and after training"
MOST_LAYERS = 5
MOST = 60  # arms

Norms = dict[str, Spread]


def weight_norms(comparison: Comparison) -> Figure:
    """Draw the Frobenius norm of each layer's weights: one panel a layer (up to 5), one row an arm (up to 60)."""
    from ..page import Page, empty, style

    runs = {arm: finished(comparison, arm) for arm in comparison.arms}
    after = {arm: gathered(run.measures.get("layer_norms") for run in runs[arm]) for arm in runs}
    before = {arm: gathered(run.details.get("initial_norms") for run in runs[arm]) for arm in runs}
    known = [arm for arm in comparison.arms if after[arm]]
    shown = known[:MOST]
    about = subtitle(comparison)
    layers, number = _layers([after[arm] for arm in shown])
    if not layers:
        return empty(TITLE, about, "Nothing to show: no run on true labels finished with its layer norms.")
    note = joined(
        "Hollow: before training; filled: after training on true labels, mean over seeds; dotted: the baseline.",
        spread_words((after[arm][layer].n for arm in shown for layer in layers if layer in after[arm]), "Bars"),
        f"The largest {len(layers)} of {number} weight tensors." if number > len(layers) else "",
        "Biases are left out.",
        left_out(comparison, [arm for arm in comparison.arms if arm not in known], "no norms"),
        more(known, shown),
    )
    with style():
        width = max(7.4, 1.6 + 2.3 * len(layers))
        page = Page(TITLE, about, note, width=width, height=0.8 + 0.24 * len(shown))
        colors = [BASELINE.color if arm == comparison.arms[0] else BLUE for arm in shown]
        row = page.subplots(1, len(layers), squeeze=False, sharey=True)[0]
        for axes, layer in zip(row, layers, strict=True):
            _panel(axes, [(before[arm].get(layer), after[arm].get(layer)) for arm in shown], colors)
            if shown[0] == comparison.arms[0] and layer in after[shown[0]]:
                axes.axvline(after[shown[0]][layer].mean, color=BASELINE.color, lw=0.8, ls=":", zorder=1)
            axes.set_title(short(layer, 30), loc="left", size=8, weight="bold")
            axes.set_xlabel("Frobenius norm")
            axes.set_xlim(left=0)
            axes.locator_params(axis="x", nbins=5)
            axes.tick_params(axis="y", length=0)
        row[0].set_yticks(range(len(shown)), [short(arm) for arm in shown])
        row[0].set_ylim(len(shown) - 0.5, -0.5)
    return page


def _panel(axes: Axes, rows: list[tuple[Spread | None, Spread | None]], colors: list[str]) -> None:
    known = [(at, *row, color) for at, (row, color) in enumerate(zip(rows, colors, strict=True))]
    both = [(at, old.mean, new.mean, color) for at, old, new, color in known if old is not None and new is not None]
    ends = [(at, new.mean, new.low, new.high, color) for at, _, new, color in known if new is not None]
    if both:
        at, old, new, color = zip(*both, strict=True)
        axes.hlines(at, old, new, colors=color, lw=1.0, alpha=0.5, zorder=2)
        axes.scatter(old, at, s=25, facecolors="white", edgecolors=color, linewidths=0.9, zorder=3)
    if ends:
        at, new, low, high, color = zip(*ends, strict=True)
        axes.hlines(at, low, high, colors=color, lw=3, alpha=0.3, zorder=2)
        axes.scatter(new, at, s=25, c=color, zorder=4)


def _layers(norms: list[Norms]) -> tuple[list[str], int]:
    """The names of the largest weight tensors in the order of the network, and how many there are."""
    largest: dict[str, float] = {}
    for each in norms:
        for name, spread in each.items():
            if not name.endswith("bias"):
                largest[name] = max(largest.get(name, 0.0), spread.mean)
    kept = set(sorted(largest, key=lambda name: -largest[name])[:MOST_LAYERS])
    return [name for name in largest if name in kept], len(largest)
