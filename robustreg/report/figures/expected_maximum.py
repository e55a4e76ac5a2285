"""The expected best validation accuracy by the number of draws, and what the best one has on test images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..palette import Look, look
from ..wording import eps_text, joined, plain, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EARLY = 3  # draws whose expected best may lie below the panel
TITLE = "What a tuning budget buys, and what of it is luck"
PANELS = {"clean": "clean accuracy", "robust": "worst-case accuracy"}


def expected_maximum(tuning: Any) -> Figure:
    """Draw for each arm of a `Tuning` the expected-maximum curves, clean and robust, both in %.

    To the right of the curves stands what the selected configuration has on test images: the step down to it is the
    selection bias.

    Dodge et al, Show your work: improved reporting of experimental results, 2019.
    """
    from ..page import Page, empty, style

    study = tuning.study
    about = " · ".join(
        [
            f"data {short(study['data'], 40)}",
            f"model {short(study['model'], 40)}",
            f"{plain(study['sampler'])} sampler, {study['budget']} draws an arm",
            f"eps {eps_text(study['headline_eps'])} ({plain(study['norm'])}, pixel units)",
        ]
    )
    longest = max((len(curve["clean"]) for curve in tuning.curves.values()), default=0)
    if not longest:
        return empty(TITLE, about, "Nothing to show: no draw was made.")
    seeds = len(study["seeds"])
    note = joined(
        "Lines: the best accuracy on validation images that so many draws are expected to find (unbiased, over all"
        " subsets of the draws; one that diverged or failed counts 0). A line that begins below its panel is cut.",
        "Markers on the right: what the selected configuration has on test images, mean over"
        f" {seeds} seed{'s' * (seeds > 1)}{' with 95 % interval' if seeds > 1 else ''}. The step down from the end of a"
        " line to its marker is the selection bias.",
    )
    width = 8.0 + 0.075 * max(len(short(arm)) for arm in tuning.arms)
    with style():
        page = Page(TITLE, about, note, width=width, height=3.2)
        panels = page.subplots(1, 2, sharex=True)
        for axes, (by, name) in zip(panels, PANELS.items(), strict=True):
            _panel(axes, tuning, by, name, longest)
        handles, labels = panels[0].get_legend_handles_labels()
        legend = panels[1].legend(handles, ["arm"] * len(handles), loc="upper left", bbox_to_anchor=(1.01, 1.0))
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)
    return page


def _panel(axes: Axes, tuning: Any, by: str, name: str, longest: int) -> None:
    step = max(0.6, 0.045 * longest)  # between the markers of two arms
    ends = []
    for position, arm in enumerate(tuning.arms):
        drawn, curve = look(position), tuning.curves[arm][by]
        draws = range(1, len(curve) + 1)
        axes.plot(draws, [100 * best for best in curve], color=drawn.color, marker=drawn.marker, ms=3.5, lw=1.3,
                  label=short(arm))  # fmt: skip
        at = longest + step * (position + 1.5)
        ends.append(at)
        _tested(axes, tuning.final(arm, by), by, at, drawn)
    axes.axvline(longest + 0.6 * step, color="#c8c8c8", lw=0.9, ls=":", zorder=1)
    ticks = sorted({1, *(round(longest * part / 4) for part in range(1, 5))} - {0})
    axes.set_xticks([*ticks, sum(ends) / len(ends)], [*map(str, ticks), "test"])
    axes.set_xlabel("draws of the tuning budget")
    axes.set_ylabel(f"{name} (%)")
    axes.set_xlim(0.4, ends[-1] + 0.8 * step)
    curves = [tuning.curves[arm][by] for arm in tuning.arms]
    late = min(100 * curve[min(EARLY, len(curve)) - 1] for curve in curves)
    low, high = axes.get_ylim()
    if late - low > high - late:  # a few draws that found nothing would flatten everything else
        axes.set_ylim(late - 0.4 * (high - late), high)


def _tested(axes: Axes, final: Any, by: str, at: float, drawn: Look) -> None:
    found = None if final is None else final.test(by)
    if found is None:
        return
    if found.low is not None:
        ends = [100 * min(1.0, max(0.0, end)) for end in (found.low, found.high)]
        axes.plot([at, at], ends, color=drawn.color, lw=1.0, alpha=0.6)
    axes.plot([at], [100 * found.mean], drawn.marker, color=drawn.color, mfc="white", ms=6, mew=1.2, ls="", zorder=4)
