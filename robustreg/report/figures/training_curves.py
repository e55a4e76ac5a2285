"""Training curves: how each arm learned true labels, and how it learned random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..palette import BLUE, GREEN, ORANGE
from ..series import TRUE, histories, mean_history, noisiest
from ..wording import joined, left_out, lost, more, short, subtitle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...study import Comparison

TITLE = "Training curves"
MOST = 40  # panels


def training_curves(comparison: Comparison) -> Figure:
    """Draw accuracy in % by epoch for up to 40 arms: the mean over seeds, and a thin line a seed."""
    from ..page import Page, empty, grid, style

    noisy = noisiest(comparison)
    kinds = [(TRUE, "train_accuracy", BLUE, "-", "training"), (TRUE, "val_accuracy", ORANGE, "--", "validation")]
    kinds += [(noisy, "train_accuracy", GREEN, "-.", f"training on {noisy} labels")] if noisy else []
    lines = {
        arm: [(histories(comparison, arm, name, condition), *look) for condition, name, *look in kinds]
        for arm in comparison.arms
    }
    known = [arm for arm in comparison.arms if any(runs for runs, *_ in lines[arm])]
    shown = known[:MOST]
    about = subtitle(comparison)
    if not shown:
        return empty(TITLE, about, "Nothing to show: no run finished an epoch.")
    note = joined(
        "Thick: mean over seeds, for as long as all go on; thin: one seed each. Measured after each epoch on the"
        " un-augmented images, against the labels of that training.",
        left_out(comparison, [arm for arm in comparison.arms if arm not in known], "no history"),
        more(known, shown),
    )
    rows, columns = grid(len(shown))
    with style():
        page = Page(
            TITLE,
            about,
            note,
            width=max(7.4, 2.4 * columns),
            height=max(2.6, 1.75 * rows),
            legend=1,
        )
        for axes, arm in zip(page.panels(len(shown), "epoch", "accuracy (%)"), shown, strict=True):
            _panel(axes, comparison, arm, lines[arm])
        handles, labels = axes.get_legend_handles_labels()
        page.legend_above(handles, labels)
    return page


def _panel(axes: Axes, comparison: Comparison, arm: str, lines: list[Any]) -> None:
    from ..page import caption

    for runs, color, dashes, label in lines:
        for run in runs if len(runs) > 1 else ():
            axes.plot(_epochs(run), [100 * value for value in run], color=color, lw=0.5, alpha=0.45)
        mean = mean_history(runs)
        axes.plot(_epochs(mean), [100 * value for value in mean], color=color, ls=dashes, label=label)
    axes.set_ylim(-3, 103)
    caption(axes, short(arm), lost(comparison, arm))


def _epochs(run: list[float]) -> list[int]:
    return list(range(1, len(run) + 1))
