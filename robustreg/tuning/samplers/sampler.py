"""The contract of samplers: they are asked for points and told what came of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...noise import Rng, fold, seed_key
from ..axis import Axis
from ..space import Point


class Sampler(Protocol):
    """Chooses the points of one arm, as many as its budget allows. It is asked again when all it asked for is told.

    What it asks next is a function of its arguments and of what it was told, so a search that was cut off goes on by
    asking and telling from the beginning: what is in the store is not trained again.
    """

    def ask(self) -> list[Point]:
        """Return the next points to try, all at once; none when the budget is spent."""

    def tell(self, point: Point, score: float) -> None:
        """Take note of the score of a point that was asked for, in [0, 1], more is better."""


@dataclass(frozen=True)
class SamplerSource:
    """A sampler that can be picked by name.

    Args:
        name: lower-case word.
        start: from axes, budget and seed to the sampler.
        guided: whether what it asks depends on what it is told.
        about: one sentence.
    """

    name: str
    start: Callable[[Sequence[Axis], int, int], Sampler]
    guided: bool
    about: str


def drawn(axes: Sequence[Axis], draw: int, seed: int) -> Point:
    """Return the uniform point of a draw. An axis that two arms share has the same value in the same draw of both, so
    that they are compared pair by pair, and a larger budget begins with the draws of a smaller one."""
    rng = Rng(fold(fold(seed_key(seed), "tune"), draw))
    return tuple(float(rng.split(axis.name).uniform(1)) for axis in axes)
