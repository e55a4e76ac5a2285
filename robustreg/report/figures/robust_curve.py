"""Accuracy against eps: the worst case and what FGSM would claim, one panel an arm, the baseline behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..palette import BASELINE, BLUE, ORANGE
from ..series import Spread, curve, spread_words
from ..wording import denominator, joined, left_out, lost, more, short, subtitle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...study import Comparison

TITLE = "Accuracy under attack"
MOST = 40  # panels

Curves = dict[float, Spread]


def robust_curve(comparison: Comparison) -> Figure:
    """Draw accuracy on the test images in % against eps, with bands over seeds, for up to 40 arms."""
    from ...study.protocol import judges
    from ..page import Page, empty, grid, style

    worst = {arm: curve(comparison, arm, "robust_curve") for arm in comparison.arms}
    shown = [arm for arm in comparison.arms if worst[arm]][:MOST]
    about = subtitle(comparison)
    if not shown:
        return empty(TITLE, about, "Nothing to show: no run on true labels finished with attack results.")
    points = [spread for arm in shown for spread in worst[arm].values()]
    note = (
        f"Worst case: the share of test images that no attack of {judges(comparison.study, 'or')} broke;"
        f" empirical. FGSM is weak: it never judges alone. {spread_words((spread.n for spread in points), 'Bands')}"
        f" Dotted: the headline eps.\n{_missing(comparison, shown, worst)}"
    ).strip()
    base = worst[comparison.arms[0]]
    rows, columns = grid(len(shown))
    width = max(7.4, 2.4 * columns)
    with style():
        page = Page(TITLE, about, note, width=width, height=max(2.6, 1.75 * rows), legend=1)
        panels = page.panels(len(shown), _eps_label(comparison), "accuracy (%)")
        for axes, arm in zip(panels, shown, strict=True):
            _panel(axes, comparison, arm, worst[arm], base)
        _ticks(axes, comparison)
        handles, labels = axes.get_legend_handles_labels()
        page.legend_above(handles, labels)
    return page


def _panel(axes: Axes, comparison: Comparison, arm: str, worst: Curves, base: Curves) -> None:
    from ..page import caption, rule

    weak = curve(comparison, arm, "fgsm_curve")
    headline = comparison.study["headline_eps"]
    both = (("worst", worst), ("FGSM", weak))
    said = [f"{name} {100 * found[headline].mean:.0f}" for name, found in both if headline in found]
    caption(axes, short(arm), f"{', '.join(said)} % at headline" if said else lost(comparison, arm))
    rule(axes, headline)
    _line(axes, base, BASELINE.color, "-", f"{short(comparison.arms[0])}, worst case", width=0.9)
    _line(axes, weak, ORANGE, "--", "FGSM (weak)")
    _line(axes, worst, BLUE, "-", "worst case")
    axes.set_ylim(-3, 103)


def _line(axes: Axes, found: Curves, color: str, dashes: str, label: str, width: float = 1.4) -> None:
    eps = list(found)
    axes.plot(eps, [100 * each.mean for each in found.values()], color=color, ls=dashes, lw=width, label=label)
    low = [100 * max(0.0, each.low) for each in found.values()]
    high = [100 * min(1.0, each.high) for each in found.values()]
    axes.fill_between(eps, low, high, color=color, alpha=0.16, linewidth=0)


def _ticks(axes: Axes, comparison: Comparison) -> None:
    grid = comparison.study["eps"]
    below = denominator(grid)
    if below is None:
        axes.locator_params(axis="x", nbins=5)
        return
    step = max(1, round(max(grid) * below / 5))
    ticks = list(range(0, round(max(grid) * below) + 1, step))
    axes.set_xticks([tick / below for tick in ticks], [str(tick) for tick in ticks])


def _eps_label(comparison: Comparison) -> str:
    below = denominator(comparison.study["eps"])
    return "eps (pixel units, 0 to 1)" if below is None else f"eps (in 1/{below} of the pixel range)"


def _missing(comparison: Comparison, shown: list[str], worst: dict[str, Curves]) -> str:
    gone = [arm for arm in comparison.arms if not worst[arm]]
    partly = [f"{short(arm)}: {lost(comparison, arm)}" for arm in shown if lost(comparison, arm)]
    return joined(
        left_out(comparison, gone, "no attack results"),
        f"Without the runs that were lost ({'; '.join(partly)})." if partly else "",
        more([arm for arm in worst if worst[arm]], shown),
    )
