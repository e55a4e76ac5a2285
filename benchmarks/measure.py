"""Timing that a noisy machine does not fool: the sides take turns, and what counts is the ratio within a turn."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Spread:
    """The median of several readings, with the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of one value or more."""
        return cls(median(values), min(values), max(values))


def timed(side: Callable[[], Any]) -> float:
    """Return the seconds that one call takes, the garbage of the calls before it collected."""
    gc.collect()
    started = time.perf_counter()
    side()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def alternate(sides: Mapping[str, Callable[[], Any]], *, rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """Return the seconds of every side in every round; the order is turned round from one round to the next."""
    if warm:
        for side in sides.values():
            side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    gc.freeze()  # what was imported is not looked through again
    for index in range(rounds):
        for name in list(sides) if index % 2 == 0 else list(sides)[::-1]:
            seconds[name].append(timed(sides[name]))
    gc.unfreeze()
    return seconds


def ratios(theirs: Sequence[float], ours: Sequence[float], scale: float = 1.0) -> Spread:
    """Return how many times as long they take, round by round; `scale` multiplies their work."""
    return Spread.of([scale * there / here for there, here in zip(theirs, ours, strict=True)])


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute on this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def default_threads() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def best_threads(trials: Mapping[int, Sequence[float]]) -> int:
    """Return the number of threads of the shortest times, by seconds in trials; 1 unless another wins each time.

    Two threads on small work now and then wait long for each other; one lucky trial must not choose them.
    """
    one = min(trials[1])
    sure = {count: median(taken) for count, taken in trials.items() if max(taken) < 0.95 * one}
    return min(sure, key=lambda count: sure[count]) if sure else 1


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the power of `sizes` that fits `values` best, by least squares of the logarithms."""
    x, y = ([math.log(value) for value in column] for column in (sizes, values))
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / sum((a - middle_x) ** 2 for a in x)
