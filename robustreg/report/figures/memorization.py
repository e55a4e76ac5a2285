"""The memorization plane: how much of wrong labels an arm learns, against what it is good for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scatter import dots
from ..series import MEMORIZED, noisiest, spread, spread_words, values
from ..wording import eps_text, left_out, subtitle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...study import Comparison

TITLE = "Memorization of wrong labels"


def memorization(comparison: Comparison) -> Figure:
    """Draw robust and clean accuracy against the memorized share of wrong labels, all in %."""
    from ..page import Page, empty, style
    from ..scatter import COLORS, draw, legend_beside, legend_width

    about = subtitle(comparison)
    condition = noisiest(comparison)
    if condition is None:
        return empty(TITLE, about, "Nothing to show: the study has no random labels (label_noise).")
    planes = {name: dots(comparison, MEMORIZED, name) for name in ("robust_accuracy", "clean_accuracy")}
    planes = {name: found for name, found in planes.items() if found}
    if not planes:
        return empty(TITLE, about, f"Nothing to show: no arm has finished runs on both true and {condition} labels.")
    fullest = max(planes.values(), key=len)
    gone = [arm for arm in comparison.arms if arm not in {dot.arm for dot in fullest}]
    note = (
        f"Memorized: the share of wrongly labelled training images predicted as their wrong label, after training on"
        f" {condition} labels. {spread_words((dot.x.n for dot in fullest), 'Crosses')} {_fit(comparison)}"
        f"\nBest is up and to the left. {COLORS} {left_out(comparison, gone, 'no runs of both kinds')}"
    ).strip()
    labels = {
        "robust_accuracy": f"robust accuracy (%), eps {eps_text(comparison.study['headline_eps'])}",
        "clean_accuracy": "clean accuracy on test images (%)",
    }
    with style():
        page = Page(TITLE, about, note, width=(5.0 if len(planes) == 1 else 7.6) + legend_width(fullest), height=3.9)
        row = page.subplots(1, len(planes), squeeze=False, sharex=True)[0]
        for axes, (name, found) in zip(row, planes.items(), strict=True):
            draw(axes, found)
            axes.set_ylabel(labels[name])
            axes.set_xlabel("memorized (% of wrong labels)")
        legend_beside(row[-1], fullest)
    return page


def _fit(comparison: Comparison) -> str:
    from ...study.protocol import FITTED

    fitted = spread(values(comparison, comparison.arms[0], "random_label_accuracy").values())
    if fitted is None or fitted.mean >= FITTED:
        return ""
    return f"The baseline fits only {fitted.mean:.0%} of its training labels, below {FITTED:.0%}: read with care."
