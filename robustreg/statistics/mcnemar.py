"""Two fixed models on one test set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

Answers = Sequence[bool] | Sequence[int] | NDArray[np.bool_] | NDArray[np.integer]


def mcnemar(a: Answers, b: Answers) -> float:
    """Return the exact two-sided p that two models are right equally often, from the images on which they disagree.

    It is about these two models alone, and says nothing of the next seed. No disagreement: p is 1.

    Args:
        a: for every test image, whether (1 or 0) the first model is right.
        b: the same of the second, in the same order.

    Raises:
        UsageError: for two lengths, or a value that is neither 0 nor 1.

    McNemar, Note on the sampling error of the difference between correlated proportions or percentages, 1947.
    """
    first, second = np.asarray(a), np.asarray(b)
    if first.ndim != 1 or first.shape != second.shape:
        raise UsageError(f"two models need the same test images, one answer each; got {first.shape} and {second.shape}")
    if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
        raise UsageError("whether a model is right is True or False (1 or 0) for each image; got other values")
    only_first, only_second = int((first.astype(bool) & ~second.astype(bool)).sum()), int((first < second).sum())
    if not only_first + only_second:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)
