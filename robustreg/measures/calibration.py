"""Whether a model knows how often it is right."""

from __future__ import annotations

import torch
from torch import Tensor

from .measure import Measure
from .subject import Subject

BINS = 15


def expected_calibration_error(logits: Tensor, y: Tensor, *, bins: int = BINS) -> float:
    """Return the mean distance between confidence and accuracy, over equal-width bins of confidence, in [0, 1].

    Args:
        logits: `(n, classes)`, n at least 1; the confidence is the largest softmax probability.
        y: int64 labels `(n,)`.
        bins: how many; bin i holds the confidences in (i / bins, (i + 1) / bins].

    Guo et al, On calibration of modern neural networks, 2017.
    """
    confidence, said = logits.double().softmax(-1).max(-1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=logits.device)[1:-1]
    bin_of = torch.bucketize(confidence, edges)
    # In each bin: |sum of confidence - number right| / n is its share times the distance of the means.
    off = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    off.index_add_(0, bin_of, confidence - (said == y).double())
    return float(off.abs().sum() / len(y))


def calibration_error(subject: Subject) -> float | None:
    """Return the expected calibration error on the test split."""
    if not subject.classifies or not len(subject.splits.test):
        return None
    return expected_calibration_error(subject.test_logits, subject.splits.test.y.cpu())


MEASURES = (
    Measure(
        "calibration_error",
        calibration_error,
        False,
        "Expected calibration error on the test images, 15 equal-width bins, in [0, 1].",
    ),
)
