"""How sure a comparison can be: intervals, paired tests, corrections and the four words of a verdict.

A seed is one draw of everything, shared by all arms, so arms are compared by their differences seed by seed. All
functions are pure. A missing value has no place in a mean: not-a-number, and anything from 1e100 to infinity, is a
UsageError, and the caller says which runs it leaves out. Nothing returns not-a-number: what one seed cannot tell is
None.

With a standard deviation of 0 (the same difference on every seed) each function returns what it tends to as the
deviation shrinks: the interval is the mean alone, and equivalence has p 0 inside the margin and 1 elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError

Word = Literal["better", "worse", "equivalent", "cannot tell"]
Values = Sequence[float] | NDArray[np.float64]  # one number a seed

_ENUMERATED = 40  # differences up to which the sign-flip test is exact: two halves of 2**20 sums
_CHUNK = 1 << 22  # random signs held at once


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds, its standard deviation over seeds, and its confidence interval from `low` to `high`.

    `sd`, `low` and `high` are None for one seed. The interval is not cut to the measure's range.
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
    return Interval(*_summary(_finite(values, "a value"), confidence))


def paired_difference(arm: Values, baseline: Values, confidence: float = 0.95) -> Difference:
    """Return mean, standard deviation and t interval of arm minus baseline; both hold one value a seed, in one order.

    Raises:
        UsageError: as `mean_interval`, and for two lengths.
    """
    return Difference(*_summary(differences(arm, baseline), confidence))


def differences(arm: Values, baseline: Values) -> NDArray[np.float64]:
    """Return arm minus baseline, seed by seed, as float64.

    What is within rounding of 0 (a part in 10**12 of the two) becomes 0, so that equal results summed in two orders
    are not ten differences of one sign.

    Raises:
        UsageError: for two lengths, no value, or a value that is not finite.
    """
    first, second = _finite(arm, "a value of the arm"), _finite(baseline, "a value of the baseline")
    if first.shape != second.shape:
        raise UsageError(f"paired values need the same seeds: the arm has {first.size}, the baseline {second.size}")
    found = first - second
    found[np.abs(found) <= 1e-12 * np.maximum(np.abs(first), np.abs(second))] = 0.0
    return found


def sign_flip_test(differences: Values, *, resamples: int = 100_000, seed: int = 0) -> float:
    """Return the two-sided p of the sign-flip test: how rare so large a mean is when each sign is a fair coin.

    Exact up to 40 differences, by counting pairs of the sums of two halves; p is never below 2 / 2**n. Sums within
    rounding of the observed one count as equal to it. Beyond 40, `resamples` random flips drawn with `seed`, the
    observed one among them. All differences 0: p is 1.

    Raises:
        UsageError: for no difference, or one that is not finite.

    Fisher, The design of experiments, 1935, section 21; the halves as in Horowitz and Sahni, Computing partitions with
    applications to the knapsack problem, 1974.
    """
    d = _finite(differences, "a difference")
    reach = abs(float(d.sum())) - 1e-9 * float(np.abs(d).sum())
    if reach <= 0:
        return 1.0
    if d.size <= _ENUMERATED:
        left, right = _signed_sums(d[: d.size // 2]), np.sort(_signed_sums(d[d.size // 2 :]))
        above = int((right.size - np.searchsorted(right, reach - left, side="left")).sum())
        return 2 * above / 2**d.size  # for each sum above there is its negative below
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // d.size)
    above = 0
    for start in range(0, resamples, rows):
        signs = rng.integers(0, 2, size=(min(rows, resamples - start), d.size), dtype=np.int8)
        above += int((np.abs((2 * signs - 1) @ d) >= reach).sum())
    return (above + 1) / (resamples + 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values adjusted for the number of tests, so that below alpha means a family-wise error below alpha.

    None stays None and is no member of the family.

    Raises:
        UsageError: for a p outside [0, 1].

    Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    for p in p_values:
        if p is not None and not 0 <= p <= 1:
            raise UsageError(f"a p value is between 0 and 1, got {p}")
    adjusted: list[float | None] = [None] * len(p_values)
    family = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    largest = 0.0
    for rank, (p, index) in enumerate(family):
        largest = max(largest, min(1.0, (len(family) - rank) * p))
        adjusted[index] = largest
    return adjusted


def equivalence_test(differences: Values, margin: float) -> float:
    """Return the p of two one-sided t tests: below alpha, the true mean difference is between -margin and margin.

    One difference proves nothing: p is 1.

    Raises:
        UsageError: for no difference, one that is not finite, or a margin that is not above 0.

    Schuirmann, A comparison of the two one-sided tests procedure and the power approach, 1987.
    """
    if not 0 < margin < math.inf:
        raise UsageError(f"the margin of an equivalence test is above 0, got {margin}")
    mean, sd, _, _, n = _summary(_finite(differences, "a difference"), 0.95)
    if sd is None:
        return 1.0
    room = margin - abs(mean)  # the nearer of the two bounds decides
    if sd == 0:
        return 0.0 if room > 0 else 1.0
    from scipy.special import stdtr

    return float(stdtr(n - 1, -room * math.sqrt(n) / sd))


def detectable_difference(sd: float | None, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Return the smallest true mean difference that a two-sided paired t test finds, with its sign, with this power.

    Args:
        sd: standard deviation of the paired differences; the result has its unit.
        n: number of seeds; with fewer than 2, or no `sd`, nothing can be found and the result is None.
        alpha: level of the test; divide it by the number of arms for the most that Holm's correction can cost.
        power: the probability of finding it, above `alpha`.

    Raises:
        UsageError: for a negative or infinite `sd`, or not 0 < alpha < power < 1.

    Cohen, Statistical power analysis for the behavioral sciences, 1988.
    """
    if not 0 < alpha < power < 1:
        raise UsageError(f"a test needs 0 < alpha < power < 1, got alpha {alpha} and power {power}")
    if sd is None or n < 2:
        return None
    if not 0 <= sd < math.inf:
        raise UsageError(f"a standard deviation is finite and not negative, got {sd}")
    from scipy.special import nctdtr, stdtrit

    critical = float(stdtrit(n - 1, 1 - alpha / 2))

    def missed(shift: float) -> float:
        return float(nctdtr(n - 1, shift, critical))

    low, high = 0.0, 1.0
    while missed(high) > 1 - power:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if missed(middle) > 1 - power else (low, middle)
    return sd * high / math.sqrt(n)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a rate seen as `successes` among `n`, within [0, 1]; (0, 1) when `n` is 0.

    Raises:
        UsageError: when not 0 <= successes <= n, or for a confidence outside (0, 1).

    Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    _check_confidence(confidence)
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


def word(
    difference: Interval,
    *,
    p_adjusted: float | None,
    equivalence_p: float | None,
    margin: float | None,
    higher_is_better: bool = True,
    blocked: bool = False,
) -> Word:
    """Return the one word for an arm against the baseline.

    1. The interval excludes 0, and `p_adjusted` is below 0.05 or None (too few seeds for a test): "better" or "worse".
       Without a test, one difference on all seeds is a coincidence of counting images and no width of 0: no word.
    2. Otherwise, `equivalence_p` is below 0.05: "equivalent".
    3. Otherwise "cannot tell".
    4. `blocked` turns "better" and "equivalent" into "cannot tell": when the attack failed, the accuracy is an upper
       bound, and only "worse" still follows from it.

    Args:
        difference: arm minus baseline; one seed is never enough for a word.
        p_adjusted: the p of the sign-flip test after `holm`.
        equivalence_p: the p of `equivalence_test` with `margin`.
        margin: the largest difference that does not matter; None when none was declared: then never "equivalent".
        higher_is_better: False where less is better, as for the memorized fraction.
        blocked: whether a red trust flag is on the arm.
    """
    if difference.low is None or difference.high is None:
        return "cannot tell"
    seen = p_adjusted < 0.05 if p_adjusted is not None else difference.sd != 0
    if (difference.low > 0 or difference.high < 0) and seen:
        if (difference.low > 0) != higher_is_better:
            return "worse"
        return "cannot tell" if blocked else "better"
    if margin is not None and equivalence_p is not None and equivalence_p < 0.05 and not blocked:
        return "equivalent"
    return "cannot tell"


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence is between 0 and 1, such as 0.95, got {confidence}")


def _finite(values: Values, what: str) -> NDArray[np.float64]:
    """The values as a float64 vector, once they are known to be numbers."""
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise UsageError(f"statistics need a list of at least one number, got the shape {found.shape}")
    usable = np.abs(found) < 1e100  # its square is finite too
    if not usable.all():
        at = int(np.argmin(usable))
        raise UsageError(f"{what} is {found[at]} at position {at}: leave failed and diverged runs out, and say so")
    return found


def _summary(
    values: NDArray[np.float64], confidence: float
) -> tuple[float, float | None, float | None, float | None, int]:
    """Mean, standard deviation, low, high and number."""
    _check_confidence(confidence)
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


def _signed_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sums of the values under all choices of their signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate((sums + value, sums - value))
    return sums
