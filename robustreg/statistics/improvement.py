"""How often an arm beats the baseline."""

from __future__ import annotations

from dataclasses import dataclass

from .intervals import differences
from .values import Values, check_confidence

MEANINGFUL = 0.75  # the share of seeds from which an improvement is worth having


@dataclass(frozen=True)
class Improvement:
    """The share of `n` paired seeds on which one arm beats another, and the interval of the probability behind it."""

    share: float
    low: float
    high: float
    n: int

    @property
    def meaningful(self) -> bool:
        """Whether the arm wins on at least 3 of 4 seeds, and on more than half beyond chance."""
        return self.share >= MEANINGFUL and self.low > 0.5


def probability_of_improvement(arm: Values, baseline: Values, confidence: float = 0.95) -> Improvement:
    """Return the share of paired seeds on which the arm has more than the baseline; a tie counts as half.

    The interval is exact and cautious: the lower end counts ties as lost, the upper end as won, so that it holds the
    probability (of more, plus half of a tie) at least as often as `confidence` says. Six seeds are the fewest whose
    lower end can be above one half. Swap the two where less is better.

    Raises:
        UsageError: for two lengths, no value, a value that is not finite, or a confidence outside (0, 1).

    Bouthillier et al, Accounting for variance in machine learning benchmarks, 2021; the interval is that of Clopper and
    Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial, 1934.
    """
    check_confidence(confidence)
    from scipy.special import betaincinv

    d = differences(arm, baseline)
    n, won, lost = d.size, int((d > 0).sum()), int((d < 0).sum())
    tail = (1 - confidence) / 2
    low = float(betaincinv(won, n - won + 1, tail)) if won else 0.0
    high = float(betaincinv(n - lost + 1, lost, 1 - tail)) if lost else 1.0
    return Improvement((won + (n - won - lost) / 2) / n, low, high, n)
