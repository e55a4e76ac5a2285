"""Random search: independent draws, uniform on every axis or its logarithm."""

from __future__ import annotations

from collections.abc import Sequence

from ..axis import Axis
from ..space import Point
from .sampler import SamplerSource, drawn


class RandomSampler:
    """Asks for all draws at once.

    Bergstra and Bengio, Random search for hyper-parameter optimization, 2012.
    """

    def __init__(self, axes: Sequence[Axis], budget: int, seed: int) -> None:
        self._points = [drawn(axes, draw, seed) for draw in range(budget)]

    def ask(self) -> list[Point]:
        """Return every draw, then none."""
        points, self._points = self._points, []
        return points

    def tell(self, point: Point, score: float) -> None:
        """Learn nothing."""


RANDOM = SamplerSource("random", RandomSampler, False, "Independent draws; the expected-maximum curve is exact.")
