"""The forest plot: each arm's paired differences to the baseline, with interval and word, endpoint by endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..palette import FAINT, INK, WORDS
from ..series import values
from ..wording import eps_text, interval_text, joined, left_out, more, preliminary, short, subtitle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...study import Comparison

TITLE = "Differences to the baseline"
MOST = 60  # arms
EDGE = 100.0  # points: no difference of accuracies can be larger, though an interval of few seeds can


def differences(comparison: Comparison) -> Figure:
    """Draw the paired differences to the baseline in points, one panel an endpoint and one row an arm (up to 60)."""
    from ...study.protocol import ENDPOINTS
    from ..page import Page, empty, style

    about = subtitle(comparison)
    others = comparison.arms[1:]
    rows = {
        arm: {name: row for name in ENDPOINTS if (row := _difference(comparison, arm, name)) is not None}
        for arm in others
    }
    known = [arm for arm in others if rows[arm]]
    shown = known[:MOST]
    panels = [name for name in ENDPOINTS if any(name in rows[arm] for arm in shown)]
    if not panels:
        why = "no arm shares a finished seed with the baseline" if others else "the baseline is the only arm"
        return empty(TITLE, about, f"Nothing to show: {why}.")
    absent = [name.replace("_", " ") for name in ENDPOINTS if name not in panels]
    seeds = max(row["n"] for arm in shown for row in rows[arm].values())
    margins = dict.fromkeys(f"{100 * ENDPOINTS[name]:g}" for name in panels)
    note = joined(
        "Arm minus baseline, paired by seed, in points.",
        "Bars: 95 % t interval, cut off at 100 points." if seeds > 1 else "One seed: no interval, and no word.",
        f"Shaded: differences too small to matter, {' and '.join(margins)} points.",
        "Preliminary: no p-values." if preliminary(comparison.study) else "Words: Holm-adjusted sign-flip tests.",
        f"No results: {', '.join(absent)}." if absent else "",
        left_out(comparison, [arm for arm in others if arm not in known], "no seed shared with the baseline"),
        more(known, shown),
    )
    with style():
        width = max(7.4, 1.5 + 3.3 * len(panels))
        page = Page(TITLE, about, note, width=width, height=0.9 + 0.25 * len(shown), legend=1)
        axes_row = page.subplots(1, len(panels), squeeze=False)[0]
        for index, (axes, name) in enumerate(zip(axes_row, panels, strict=True)):
            _panel(axes, [rows[arm].get(name) for arm in shown], 100 * ENDPOINTS[name])
            lower = comparison.measures.get(name) is False
            axes.set_title(_heading(comparison, name), loc="left", size=8, weight="bold")
            axes.set_xlabel(f"points ({'less is better' if lower else 'more is better'})")
            axes.set_yticks(range(len(shown)), [short(arm) for arm in shown] if index == 0 else [""] * len(shown))
        used = [word for word in WORDS if any(row["word"] == word for arm in shown for row in rows[arm].values())]
        page.legend_above([_handle(word) for word in used], used)
    return page


def _difference(comparison: Comparison, arm: str, name: str) -> dict[str, Any] | None:
    baseline = comparison.arms[0]
    shared = values(comparison, arm, name).keys() & values(comparison, baseline, name).keys()
    return comparison.differences[arm].get(name) if shared else None


def _panel(axes: Axes, found: list[dict[str, Any] | None], margin: float) -> None:
    axes.axvspan(-margin, margin, color="#eeeeee", lw=0, zorder=0)
    axes.axvline(0, color=INK, lw=0.8, zorder=1)
    said = []
    for position, row in enumerate(found):
        if row is None:
            said.append("no results")
            continue
        look, mean = WORDS[row["word"]], 100 * row["difference"]
        if row["low"] is not None:
            low, high = 100 * row["low"], 100 * row["high"]
            axes.plot([max(low, -EDGE), min(high, EDGE)], [position] * 2, color=look.color, lw=1.4, zorder=2)
        fill = "white" if look.hollow else look.color
        axes.plot(mean, position, look.marker, color=look.color, mfc=fill, ms=6, mew=1.1, zorder=3)
        said.append(f"{mean:+.1f} {interval_text(row)}".rstrip())
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    beside = axes.secondary_yaxis("right")  # the numbers, at the rows
    beside.set_yticks(range(len(found)), said)
    beside.tick_params(length=0, labelsize=7, labelcolor=FAINT)
    beside.spines["right"].set_visible(False)


def _heading(comparison: Comparison, name: str) -> str:
    if name == "robust_accuracy":
        return f"robust accuracy, eps {eps_text(comparison.study['headline_eps'])}"
    return {"memorized_fraction": "memorized wrong labels"}.get(name, name.replace("_", " "))


def _handle(word: str) -> Any:
    from matplotlib.lines import Line2D

    look = WORDS[word]
    return Line2D(
        [], [], color=look.color, marker=look.marker, mfc="white" if look.hollow else look.color, ms=6, mew=1.1, lw=1.4
    )
