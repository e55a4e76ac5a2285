"""The correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UsageError


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
