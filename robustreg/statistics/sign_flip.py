"""The exact test of paired differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .values import Values, finite

_ENUMERATED = 40  # differences up to which the test is exact: two halves of 2**20 sums


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
    d = finite(differences, "a difference")
    reach = abs(float(d.sum())) - 1e-9 * float(np.abs(d).sum())
    if reach <= 0:
        return 1.0
    if d.size <= _ENUMERATED:
        left, right = _signed_sums(d[: d.size // 2]), np.sort(_signed_sums(d[d.size // 2 :]))
        above = int((right.size - np.searchsorted(right, reach - left, side="left")).sum())
        return 2 * above / 2**d.size  # for each sum above there is its negative below
    from . import _CHUNK

    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // d.size)
    above = 0
    for start in range(0, resamples, rows):
        signs = rng.integers(0, 2, size=(min(rows, resamples - start), d.size), dtype=np.int8)
        above += int((np.abs((2 * signs - 1) @ d) >= reach).sum())
    return (above + 1) / (resamples + 1)


def _signed_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sums of the values under all choices of their signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate((sums + value, sums - value))
    return sums
