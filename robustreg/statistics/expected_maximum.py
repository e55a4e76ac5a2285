"""What a tuning budget buys: the best of a few draws, from all the draws there are."""

from __future__ import annotations

import numpy as np

from .values import Values, finite


def expected_maximum(scores: Values) -> list[float]:
    """Return the expected best score of n independent draws, for n = 1 to B, the number of scores.

    The estimate for n is the mean of the best over all subsets of n scores, and so unbiased; its first value is the
    mean and its last the maximum. Compare arms that were tuned with different budgets at equal n. Where less is
    better, negate the scores and the result.

    Args:
        scores: one number for each draw of the settings, such as validation accuracies.

    Raises:
        UsageError: for no score, or one that is not finite.

    Dodge et al, Show your work: improved reporting of experimental results, 2019; the estimator, without the bias of
    theirs, is that of Tang et al, Showing your work doesn't always work, 2020.
    """
    ordered = np.sort(finite(scores, "a score"))[::-1]
    count = ordered.size
    below = ordered[0] - ordered  # sums of these leave equal scores what they are, and stay at or below the best
    ranks = np.arange(count, 1, -1, dtype=np.float64)
    found = []
    for n in range(1, count + 1):
        # C(i-1, n-1) / C(B, n), the share of subsets whose best has rank i from below: n/B for rank B, and each rank
        # (i-n)/(i-1) of the one above. Products of shares, where factorials would overflow.
        steps = np.concatenate(([n / count], np.maximum(ranks - n, 0) / (ranks - 1)))
        found.append(float(ordered[0] - below @ np.cumprod(steps)))
    return found
