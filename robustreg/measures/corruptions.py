"""Accuracy on images that noise, blur, light and movement have made worse: no attacker, only bad luck."""

from __future__ import annotations

from .measure import Measure
from .subject import Subject


def corruption_curve(subject: Subject) -> dict[str, float] | None:
    """Return for each corruption the accuracy on the first 500 test images, averaged over five severities.

    None for a model trained on corrupted labels, or where the inputs are no images `(C, H, W)`. The noise of an image
    depends on the seed and the corruption, and is the same for all models.

    Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions and perturbations, 2019.
    """
    return subject.degraded_accuracy


def corruption_accuracy(subject: Subject) -> float | None:
    """Return the mean of `corruption_curve` over the corruptions."""
    curve = subject.degraded_accuracy
    return None if curve is None else sum(curve.values()) / len(curve)


MEASURES = (
    Measure(
        "corruption_accuracy",
        corruption_accuracy,
        True,
        "Mean accuracy on up to 500 test images under nine corruptions at five severities, in [0, 1].",
    ),
    Measure(
        "corruption_curve",
        corruption_curve,
        True,
        "Accuracy under each corruption, mean over five severities, in [0, 1].",
    ),
)
