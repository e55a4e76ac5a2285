"""How far a study is, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

REDRAW = 0.2  # seconds between two looks at the epochs of what is running
SURE = 0.01  # share of the work that has to be done before an end is foretold
TRAINING = 0.5  # share of a run that is its training, where the rest is measuring


@dataclass(frozen=True)
class Progress:
    """Where a study stands.

    Attributes:
        done: runs that are finished, those that were kept from before included.
        total: runs there are.
        running: what is being done, in words; empty at the end.
        seconds_left: at the pace so far; None before there is one.
        reused: runs that were kept from before.
        failed: runs that ended in an error.
        part: what is done of those that are running, in runs.
    """

    done: int
    total: int
    running: str
    seconds_left: float | None
    reused: int
    failed: int
    part: float = 0.0


@dataclass
class _Going:
    """A task that is running: its name, the runs of it that are not finished, and the share of their training."""

    name: str
    runs: int
    share: float = 0.0


class Pace:
    """Counts what begins and ends, and tells `on_progress` of it."""

    def __init__(self, total: int, todo: int, on_progress: Callable[[Progress], None] | None) -> None:
        self._total, self._todo, self._on_progress = total, todo, on_progress
        self._begun = time.perf_counter()
        self._finished = self._failed = 0
        self._told = 0.0
        self._going: dict[int, _Going] = {}

    def start(self, task: int, name: str, runs: int) -> None:
        """A task begins."""
        self._going[task] = _Going(name, runs)
        self.tell()

    def trained(self, task: int, share: float) -> None:
        """Of the training of a task, this share is done."""
        if task in self._going:
            self._going[task].share = share
        if time.perf_counter() - self._told > REDRAW:
            self.tell()

    def finish(self, task: int, failed: bool) -> None:
        """A run of a task is finished."""
        self._finished += 1
        self._failed += failed
        if task in self._going:
            self._going[task].runs -= 1
        self.tell()

    def end(self, task: int) -> None:
        """A task is over."""
        self._going.pop(task, None)

    def tell(self) -> None:
        """Say where the study stands."""
        if self._on_progress is None:
            return
        self._told = time.perf_counter()
        part = sum((task.runs * task.share * TRAINING for task in self._going.values()), 0.0)
        done = self._finished + part
        left = (self._told - self._begun) / done * (self._todo - done) if done > SURE * self._todo else None
        names = [task.name for task in self._going.values()]
        running = names[0] + (f", and {len(names) - 1} more" if len(names) > 1 else "") if names else ""
        reused = self._total - self._todo
        self._on_progress(Progress(reused + self._finished, self._total, running, left, reused, self._failed, part))
