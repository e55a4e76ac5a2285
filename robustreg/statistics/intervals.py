"""Means with their t intervals, paired differences, and the interval of a rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .values import Values, check_confidence, finite


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds, its standard deviation over seeds, and its confidence interval from `low` to `high`.

    For one seed `sd` is None, and so are `low` and `high` where the interval is about seeds. The interval is not cut to
    the measure's range.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Difference(Interval):
    """An `Interval` of the differences arm minus baseline."""


def mean_interval(values: Values, confidence: float = 0.95) -> Interval:
    """Return mean, standard deviation and t interval of one value a seed.

    Raises:
        UsageError: for no value, a value that is not finite, or a confidence outside (0, 1).
    """
    return Interval(*summary(finite(values, "a value"), confidence))


def paired_difference(arm: Values, baseline: Values, confidence: float = 0.95) -> Difference:
    """Return mean, standard deviation and t interval of arm minus baseline; both hold one value a seed, in one order.

    Raises:
        UsageError: as `mean_interval`, and for two lengths.
    """
    return Difference(*summary(differences(arm, baseline), confidence))


def differences(arm: Values, baseline: Values) -> NDArray[np.float64]:
    """Return arm minus baseline, seed by seed, as float64.

    What is within rounding of 0 (a part in 10**12 of the two) becomes 0, so that equal results summed in two orders
    are not ten differences of one sign.

    Raises:
        UsageError: for two lengths, no value, or a value that is not finite.
    """
    first, second = finite(arm, "a value of the arm"), finite(baseline, "a value of the baseline")
    if first.shape != second.shape:
        raise UsageError(f"paired values need the same seeds: the arm has {first.size}, the baseline {second.size}")
    found = first - second
    found[np.abs(found) <= 1e-12 * np.maximum(np.abs(first), np.abs(second))] = 0.0
    return found


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a rate seen as `successes` among `n`, within [0, 1]; (0, 1) when `n` is 0.

    Raises:
        UsageError: when not 0 <= successes <= n, or for a confidence outside (0, 1).

    Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    check_confidence(confidence)
    if not 0 <= successes <= n:
        raise UsageError(f"successes are between 0 and the number of trials, got {successes} of {n}")
    if n == 0:
        return 0.0, 1.0
    from scipy.special import ndtri

    z = float(ndtri((1 + confidence) / 2))
    rate, weight = successes / n, z * z / n
    center = (rate + weight / 2) / (1 + weight)
    half = math.sqrt(rate * (1 - rate) * weight + weight * weight / 4) / (1 + weight)
    return center - half, (center + half if successes < n else 1.0)


def summary(
    values: NDArray[np.float64], confidence: float
) -> tuple[float, float | None, float | None, float | None, int]:
    """Return mean, standard deviation, low, high and number, of values that are `finite` already."""
    check_confidence(confidence)
    n = values.size
    mean = float(values.mean())
    if n == 1:
        return mean, None, None, None, 1
    if (values == values[0]).all():  # the rounding of the mean must not look like a deviation
        only = float(values[0])
        return only, 0.0, only, only, n
    from scipy.special import stdtrit

    sd = float(values.std(ddof=1))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * sd / math.sqrt(n)
    return mean, sd, mean - half, mean + half, n
