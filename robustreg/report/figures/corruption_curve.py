"""Clean accuracy against the share of corrupted training labels, one panel an arm, the baseline behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..palette import BASELINE, BLUE
from ..series import Spread, finished, spread, spread_words
from ..wording import joined, left_out, lost, more, plain, short, subtitle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...study import Comparison

TITLE = "Accuracy after training on wrong labels"
MOST = 40  # panels
FEWEST = 3  # rates that make a curve

Curve = dict[float, Spread]


def corruption_curve(comparison: Comparison) -> Figure:
    """Draw accuracy on the test images in % against the rate of label corruption, with bands over seeds."""
    from ...study.corruption import corruption_conditions
    from ..page import Page, empty, grid, style

    about, conditions = subtitle(comparison), corruption_conditions(comparison)
    if len(conditions) < FEWEST:
        why = "Nothing to show: a curve needs three rates of label corruption, as in label_noise=0,0.2,0.4,0.6,0.8,1."
        return empty(TITLE, about, why)
    curves = {arm: _curve(comparison, arm, conditions) for arm in comparison.arms}
    shown = [arm for arm in comparison.arms if curves[arm]][:MOST]
    if not shown:
        return empty(TITLE, about, "Nothing to show: no run finished.")
    points = [each for arm in shown for each in curves[arm].values()]
    mode = plain(conditions[max(conditions)].rpartition(":")[0])
    note = (
        f"Labels of a share of the training images were changed ({mode}); test labels are true."
        f" {spread_words((each.n for each in points), 'Bands')} {_budgets(comparison, conditions)}"
        f"\n{_missing(comparison, shown, curves)}"
    ).strip()
    rows, columns = grid(len(shown))
    with style():
        page = Page(TITLE, about, note, width=max(7.4, 2.4 * columns), height=max(2.6, 1.75 * rows), legend=1)
        panels = page.panels(len(shown), "corrupted labels (%)", "clean accuracy (%)")
        for axes, arm in zip(panels, shown, strict=True):
            _panel(axes, comparison, arm, curves)
        handles, labels = axes.get_legend_handles_labels()
        page.legend_above(handles, labels)
    return page


def _curve(comparison: Comparison, arm: str, conditions: dict[float, str]) -> Curve:
    found = {
        rate: spread(comparison.values(arm, "clean_accuracy", condition).values())
        for rate, condition in conditions.items()
    }
    return {rate: each for rate, each in found.items() if each is not None}


def _panel(axes: Axes, comparison: Comparison, arm: str, curves: dict[str, Curve]) -> None:
    from ...study.corruption import corruption_area
    from ..page import caption

    area, base = corruption_area(comparison, arm), comparison.arms[0]
    caption(axes, short(arm), lost(comparison, arm) if area is None else f"area {100 * area:.1f} %")
    _line(axes, curves[base], BASELINE.color, short(base), 0.9)
    _line(axes, curves[arm], BLUE, "arm of the panel", 1.4)
    axes.set_xlim(-4, 104)
    axes.set_ylim(-3, 103)


def _line(axes: Axes, found: Curve, color: str, label: str, width: float) -> None:
    rates = [100 * rate for rate in found]
    means = [100 * each.mean for each in found.values()]
    axes.plot(rates, means, color=color, lw=width, marker="o", ms=2.5, label=label)
    low = [100 * max(0.0, each.low) for each in found.values()]
    high = [100 * min(1.0, each.high) for each in found.values()]
    axes.fill_between(rates, low, high, color=color, alpha=0.16, linewidth=0)


def _budgets(comparison: Comparison, conditions: dict[float, str]) -> str:
    """Which rates were trained on fewer images than others."""
    images: dict[float, int] = {}
    for rate, condition in conditions.items():
        for arm in comparison.arms:
            for run in finished(comparison, arm, condition):
                if "train_images" in run.details:
                    images[rate] = int(run.details["train_images"])
    most = max(images.values(), default=0)
    said = [f"{rate:.0%} on {number}" for rate, number in images.items() if number < most]
    return f"Trained on fewer images than the {most} of the others: {', '.join(said)}." if said else ""


def _missing(comparison: Comparison, shown: list[str], curves: dict[str, Curve]) -> str:
    gone = [arm for arm in comparison.arms if not curves[arm]]
    partly = [f"{short(arm)}: {lost(comparison, arm)}" for arm in shown if lost(comparison, arm)]
    return joined(
        left_out(comparison, gone, "no finished runs"),
        f"Without the runs that were lost ({'; '.join(partly)})." if partly else "",
        more([arm for arm in curves if curves[arm]], shown),
    )
