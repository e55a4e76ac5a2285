"""The local engine: tasks on several processes of this machine, which stay alive over many of them."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import deque
from multiprocessing.connection import wait as readable
from typing import Any

from ..errors import UsageError
from .engine import Engine, EngineSource, Event, OnNote, Work
from .worker import Worker

LOOK = 0.5  # seconds between two looks whether a silent worker is alive


class Local:
    """Does tasks on worker processes with one thread each. A worker that dies ends its task and is replaced.

    A task that comes when all workers are busy waits. Workers are made when they are first needed.
    """

    def __init__(self, work: Work, on_note: OnNote, workers: int) -> None:
        self._work, self._on_note, self._size = work, on_note, workers
        self._workers: list[Worker] = []
        self._waiting: deque[tuple[int, tuple[Any, ...], float]] = deque()
        self._count = 0

    def capacity(self) -> int:
        """Return the number of workers."""
        return self._size

    def submit(self, *arguments: Any, seconds: float = 0.0) -> int:
        """Take a task, of picklable arguments, and return its number."""
        self._count += 1
        self._waiting.append((self._count, arguments, seconds))
        self._feed()
        return self._count

    def wait(self) -> Event:
        """Wait for the next event of a task."""
        while True:
            busy = [worker for worker in self._workers if worker.task is not None]
            if not busy:
                raise RuntimeError("there is no task to wait for")
            talking = readable([worker.pipe for worker in busy], self._patience(busy))
            for worker in busy:
                heard = worker.hear(worker.pipe in talking)
                if heard is None:
                    continue
                kind, event = heard
                if kind == "note":
                    self._on_note(event.task, event.result)
                    continue
                if kind == "lost":
                    self._workers.remove(worker)
                    worker.end()
                if event.over:
                    self._feed()
                return event

    def _feed(self) -> None:
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None and len(self._workers) == self._size:
                return
            if idle is None:
                idle = Worker(self._work, [worker.pipe for worker in self._workers])
                self._workers.append(idle)
            idle.give(*self._waiting.popleft())

    @staticmethod
    def _patience(busy: list[Worker]) -> float:
        ends = [worker.deadline for worker in busy if worker.deadline is not None]
        return max(0.0, min(LOOK, *(end - time.monotonic() for end in ends))) if ends else LOOK

    def close(self) -> None:
        """End all workers at once."""
        self._waiting.clear()
        while self._workers:
            self._workers.pop().end()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(work: Work, on_note: OnNote, *, workers: int = 0) -> Engine:
    """Return a local engine of so many workers, by default one for each core this process may use."""
    if workers < 0:
        raise UsageError(f"the local engine takes a whole number of workers from 0 (one a core), got {workers}")
    return Local(work, on_note, workers or cores())


def problem() -> str:
    """Say why worker processes cannot be forked here; empty where they can."""
    if not sys.platform.startswith("linux"):
        return f"worker processes are forked, which is safe for torch on Linux only, and this is {sys.platform}"
    if multiprocessing.current_process().daemon:
        return "this process is itself a worker that may not start processes"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA is in use in this process, which then cannot be forked"
    return ""


LOCAL = EngineSource("local", start, problem, "Several processes of this machine, one thread each.")
