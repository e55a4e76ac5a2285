"""Clean test accuracy against the share of corrupted training labels: what wrong labels cost an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..measures import area
from .conditions import LabelCondition

if TYPE_CHECKING:
    from .comparison import Comparison

TRUE = str(LabelCondition(0.0))


def corruption_conditions(comparison: Comparison, mode: str | None = None) -> dict[float, str]:
    """Return the label conditions of one mode of corruption by their rates, ascending, true labels (rate 0) included.

    Args:
        comparison: a study.
        mode: as conditions write it, "random" or "permute" ...; default the one with most rates, of equals the first.
    """
    modes: dict[str, dict[float, str]] = {}
    for condition in comparison.study["label_conditions"]:
        word, colon, rate = condition.rpartition(":")
        if colon:
            modes.setdefault(word, {})[float(rate)] = condition
    found = max(modes.values(), key=len, default={}) if mode is None else modes.get(mode, {})
    start = {0.0: TRUE} if TRUE in comparison.study["label_conditions"] else {}
    return dict(sorted((start | found).items()))


def corruption_curve(comparison: Comparison, arm: str, *, mode: str | None = None) -> dict[float, float]:
    """Return the accuracy on clean test images by the rate of label corruption, mean over the seeds that finished.

    The default condition of fully random labels trains on fewer images than the others; there every number of them
    gives chance.

    Args:
        comparison: a study; `--label-noise 0,0.2,0.4,0.6,0.8,1` gives it a curve.
        arm: its name.
        mode: see `corruption_conditions`.

    Zhang et al, mixup: beyond empirical risk minimization, 2018.
    """
    found = {}
    for rate, condition in corruption_conditions(comparison, mode).items():
        values = list(comparison.values(arm, "clean_accuracy", condition).values())
        if values:
            found[rate] = sum(values) / len(values)
    return found


def corruption_area(comparison: Comparison, arm: str, *, mode: str | None = None) -> float | None:
    """Return the area under `corruption_curve` divided by the width of its rates, in [0, 1].

    None for fewer than two rates, and where the arm lost all runs of a rate: areas over other rates do not compare.
    """
    curve = corruption_curve(comparison, arm, mode=mode)
    return area(curve) if list(curve) == list(corruption_conditions(comparison, mode)) else None
