"""Grid search: every combination of evenly spaced values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from ..axis import Axis
from ..space import Point
from .sampler import SamplerSource


class GridSampler:
    """Asks for the largest grid within the budget, its axes as evenly fine as that allows.

    It spends the budget where it is a product of such numbers, and else less; the first axes are the finer ones.
    """

    def __init__(self, axes: Sequence[Axis], budget: int, seed: int) -> None:
        levels = [axis.levels(count) for axis, count in zip(axes, sizes(axes, budget), strict=True)]
        self._points: list[Point] = list(product(*levels))

    def ask(self) -> list[Point]:
        """Return the whole grid, then none."""
        points, self._points = self._points, []
        return points

    def tell(self, point: Point, score: float) -> None:
        """Learn nothing."""


def sizes(axes: Sequence[Axis], budget: int) -> list[int]:
    """Return how many levels each axis has: the coarsest is made finer for as long as the grid fits the budget."""
    found = [1] * len(axes)
    while True:
        finer = [
            at
            for at, axis in enumerate(axes)
            if (axis.count is None or found[at] < axis.count) and prod(found) // found[at] * (found[at] + 1) <= budget
        ]
        if not finer:
            return found
        found[min(finer, key=lambda at: found[at])] += 1


GRID = SamplerSource("grid", GridSampler, False, "Every combination of evenly spaced values, ends included.")
