"""Whether a model knows how often it is right."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..noise import Rng, fold, seed_key
from .measure import Measure
from .once import once
from .subject import Subject
from .temperature import fit_temperature

BINS = 15
RESAMPLES = 400
AT_ONCE = 1 << 21  # confidences resampled together


def expected_calibration_error(logits: Tensor, y: Tensor, *, bins: int = BINS) -> float:
    """Return the mean distance between confidence and accuracy, over equal-width bins of confidence, in [0, 1].

    Args:
        logits: `(n, classes)`, n at least 1; the confidence is the largest softmax probability.
        y: int64 labels `(n,)`.
        bins: how many; bin i holds the confidences in (i / bins, (i + 1) / bins].

    Guo et al, On calibration of modern neural networks, 2017.
    """
    bin_of, excess = _binned(logits, y, bins)
    # In each bin: |sum of confidence - number right| / n is its share times the distance of the means.
    off = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    off.index_add_(0, bin_of, excess)
    return float(off.abs().sum() / len(y))


def adaptive_calibration_error(logits: Tensor, y: Tensor, *, bins: int = BINS) -> float:
    """Return the same over bins of equally many points, cut along the sorted confidences, in [0, 1].

    Nixon et al, Measuring calibration in deep learning, 2019.
    """
    confidence, excess = _excess(logits, y)
    groups = excess[confidence.argsort(stable=True)].tensor_split(bins)
    return float(sum(group.sum().abs() for group in groups)) / len(y)


def calibration_interval(
    logits: Tensor, y: Tensor, *, rng: Rng, bins: int = BINS, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of the expected calibration error, within [0, 1].

    Chance alone puts accuracy off confidence, so the error is biased upward, and that of a resample once more. Such
    biases add up in squares: the interval is the basic one of the squared error, (2 e^2 - upper quantile, 2 e^2 - lower
    quantile), which takes one bias off for the other. It can therefore lie below the error itself.

    Args:
        logits: `(n, classes)`, n at least 1.
        y: int64 labels `(n,)`.
        rng: draws the resamples.
        bins: as in `expected_calibration_error`.
        resamples: how many.

    Efron and Tibshirani, An introduction to the bootstrap, 1993.
    """
    bin_of, excess = _binned(logits, y, bins)
    error = expected_calibration_error(logits, y, bins=bins)
    found = []
    for part in torch.arange(resamples).split(max(1, AT_ONCE // len(y))):
        draws = rng.integers(len(y), len(part), len(y))
        off = torch.zeros(len(part), bins, dtype=torch.float64)
        off.scatter_add_(1, bin_of[draws], excess[draws])
        found.append(off.abs().sum(1) / len(y))
    quantiles = torch.cat(found).square().quantile(torch.tensor([0.975, 0.025], dtype=torch.float64))
    low, high = (2 * error**2 - quantiles).clamp(0, 1).sqrt().tolist()
    return low, high


def nll(logits: Tensor, y: Tensor) -> float:
    """Return the mean negative log-likelihood of the labels, in nats.

    Args:
        logits: `(n, classes)`, n at least 1.
        y: int64 labels `(n,)`.
    """
    return float(F.cross_entropy(logits.double(), y))


def brier(logits: Tensor, y: Tensor) -> float:
    """Return the mean squared distance of the probabilities from the label's indicator vector, in [0, 2].

    Args:
        logits: `(n, classes)`, n at least 1.
        y: int64 labels `(n,)`.

    Brier, Verification of forecasts expressed in terms of probability, 1950.
    """
    p = logits.double().softmax(-1)
    return float((p - F.one_hot(y, p.shape[-1])).square().sum(-1).mean())


def _binned(logits: Tensor, y: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """The bin of every point, and its confidence minus whether it is right."""
    confidence, excess = _excess(logits, y)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=logits.device)[1:-1]
    return torch.bucketize(confidence, edges), excess


def _excess(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    confidence, said = logits.double().softmax(-1).max(-1)
    return confidence, confidence - (said == y).double()


def _test(subject: Subject) -> tuple[Tensor, Tensor] | None:
    """Logits and labels of the test split; None where there is nothing to calibrate."""
    test = subject.splits.test
    return (subject.test_logits, test.y.cpu()) if subject.classifies and len(test) else None


@once
def _temperature(subject: Subject) -> float | None:
    val = subject.splits.val
    return fit_temperature(subject.val_logits, val.y.cpu()) if subject.classifies and len(val) else None


def _interval(subject: Subject) -> dict[str, float] | None:
    test = _test(subject)
    if test is None:
        return None
    rng = Rng(fold(seed_key(subject.seed), "calibration interval"))
    return dict(zip(("low", "high"), calibration_interval(*test, rng=rng), strict=True))


def _scaled(subject: Subject) -> float | None:
    test, temperature = _test(subject), _temperature(subject)
    if test is None or temperature is None:
        return None
    return expected_calibration_error(test[0].double() / temperature, test[1])


MEASURES = (
    Measure(
        "calibration_error",
        lambda subject: None if (test := _test(subject)) is None else expected_calibration_error(*test),
        False,
        "Expected calibration error on the test images, 15 equal-width bins, in [0, 1].",
    ),
    Measure(
        "calibration_interval",
        _interval,
        None,
        "95 % bootstrap interval of the calibration error over the test images, its upward bias taken off.",
    ),
    Measure(
        "calibration_error_adaptive",
        lambda subject: None if (test := _test(subject)) is None else adaptive_calibration_error(*test),
        False,
        "Calibration error on the test images in 15 bins of equally many images, in [0, 1].",
    ),
    Measure(
        "calibration_error_scaled",
        _scaled,
        False,
        "Calibration error on the test images after dividing the logits by the temperature, in [0, 1].",
    ),
    Measure(
        "temperature",
        _temperature,
        None,
        "What the logits must be divided by for the best likelihood on the validation images; above 1: overconfident.",
    ),
    Measure(
        "nll",
        lambda subject: None if (test := _test(subject)) is None else nll(*test),
        False,
        "Mean negative log-likelihood of the test labels, in nats.",
    ),
    Measure(
        "brier",
        lambda subject: None if (test := _test(subject)) is None else brier(*test),
        False,
        "Mean squared distance of the probabilities from the test labels, in [0, 2].",
    ),
)
