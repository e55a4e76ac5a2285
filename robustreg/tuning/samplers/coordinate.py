"""Coordinate-wise search: one axis after the other, the others held at the best so far."""

from __future__ import annotations

from collections.abc import Sequence

from ..axis import Axis
from ..space import Point
from .sampler import SamplerSource


class CoordinateSampler:
    """Begins in the middle of every axis and goes over the axes in order, the learning rate first.

    Each sweep has an even share of the budget that is left, and leaves its axis at the best value seen. What is left
    after the last axis goes into another round. It finds no better strength that needs another learning rate: the way
    people tune by hand, and what is wrong with it.
    """

    def __init__(self, axes: Sequence[Axis], budget: int, seed: int) -> None:
        self._axes, self._left = list(axes), budget
        self._best: Point = tuple(0.5 for _ in axes)
        self._score = -1.0
        self._seen: set[tuple[object, ...]] = set()
        self._next = 0  # the axis whose turn it is
        self._idle = 0  # sweeps in a row that had nothing new

    def ask(self) -> list[Point]:
        """Return the next sweep: points that differ from the best one in one axis, none of them tried before."""
        while self._left and self._idle < len(self._axes):
            at = self._next
            self._next = (at + 1) % len(self._axes)
            new = self._fresh(at, -(-self._left // (len(self._axes) - at)))
            if new:
                self._idle = 0
                self._left -= len(new)
                self._seen |= {self._values(point) for point in new}
                return new
            self._idle += 1
        return []

    def tell(self, point: Point, score: float) -> None:
        """Remember the best point; of equals the first."""
        if score > self._score:
            self._best, self._score = point, score

    def _fresh(self, at: int, share: int) -> list[Point]:
        """Points along an axis, evenly spread, with `share` new ones among them, if there are so many; the new ones."""
        count = self._axes[at].count
        number = share
        while True:
            sweep = [(*self._best[:at], u, *self._best[at + 1 :]) for u in self._axes[at].levels(number)]
            new = [point for point in sweep if self._values(point) not in self._seen]
            if len(new) >= share or (count is not None and number >= count):
                return new[:share]
            number += 1

    def _values(self, point: Point) -> tuple[object, ...]:
        return tuple(axis.at(u) for axis, u in zip(self._axes, point, strict=True))


COORDINATE = SamplerSource("coordinate", CoordinateSampler, True, "One axis after the other, others at the best yet.")
