"""The claim that two arms are the same, and the smallest difference a study could have seen."""

from __future__ import annotations

import math

from ..errors import UsageError
from .intervals import summary
from .values import Values, finite


def equivalence_test(differences: Values, margin: float) -> float:
    """Return the p of two one-sided t tests: below alpha, the true mean difference is between -margin and margin.

    One difference proves nothing: p is 1.

    Raises:
        UsageError: for no difference, one that is not finite, or a margin that is not above 0.

    Schuirmann, A comparison of the two one-sided tests procedure and the power approach, 1987.
    """
    if not 0 < margin < math.inf:
        raise UsageError(f"the margin of an equivalence test is above 0, got {margin}")
    mean, sd, _, _, n = summary(finite(differences, "a difference"), 0.95)
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
