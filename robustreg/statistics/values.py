"""Lists of numbers, one a seed, and the check that they are numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

Values = Sequence[float] | NDArray[np.float64]  # one number a seed


def finite(values: Values, what: str) -> NDArray[np.float64]:
    """The values as a float64 vector, once they are known to be numbers."""
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise UsageError(f"statistics need a list of at least one number, got the shape {found.shape}")
    usable = np.abs(found) < 1e100  # its square is finite too
    if not usable.all():
        at = int(np.argmin(usable))
        raise UsageError(f"{what} is {found[at]} at position {at}: leave failed and diverged runs out, and say so")
    return found


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is no share between 0 and 1."""
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence is between 0 and 1, such as 0.95, got {confidence}")
