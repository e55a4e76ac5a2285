"""The same faults on process pools, which keep nothing on disk: joblib (loky) and concurrent.futures."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from joblib import Parallel, delayed

from .alone import GRACE, alone, orphans

TASKS = 8


def task(number: int, die_at: int, seconds: float) -> int:
    """Take so long, and kill the process in the task of a number."""
    time.sleep(seconds / 2)
    if number == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds / 2)
    return number


def _joblib(die_at: int, seconds: float) -> Iterator[int]:
    yield from Parallel(n_jobs=2)(delayed(task)(number, die_at, seconds) for number in range(TASKS))


def _joblib_stream(die_at: int, seconds: float) -> Iterator[int]:
    pool = Parallel(n_jobs=2, return_as="generator_unordered")
    yield from pool(delayed(task)(number, die_at, seconds) for number in range(TASKS))


def _map(die_at: int, seconds: float) -> Iterator[int]:
    with ProcessPoolExecutor(2) as pool:
        yield from list(pool.map(task, range(TASKS), [die_at] * TASKS, [seconds] * TASKS))


def _submit(die_at: int, seconds: float) -> Iterator[int]:
    with ProcessPoolExecutor(2) as pool:
        for future in as_completed([pool.submit(task, number, die_at, seconds) for number in range(TASKS)]):
            yield future.result()


WAYS: dict[str, dict[str, Callable[[int, float], Iterator[int]]]] = {
    "joblib": {"Parallel": _joblib, "generator_unordered": _joblib_stream},
    "ProcessPoolExecutor": {"map": _map, "as_completed": _submit},
}


def _collect(way: Callable[[int, float], Iterator[int]], die_at: int, seconds: float, path: Path) -> None:
    with open(path, "ab", buffering=0) as file:
        for _ in way(die_at, seconds):
            file.write(b".")


def worker_killed(pool: str, folder: Path, times: int) -> str:
    """Kill a worker in a task, and say how many of the results never got to who asked for them."""
    said = []
    for name, way in WAYS[pool].items():
        missing = 0
        for at in range(times):
            path = folder / f"{pool}-{name}-{at}"
            alone(_collect, way, at % (TASKS - 1) + 1, 0.02, path)
            missing += TASKS - (path.stat().st_size if path.exists() else 0)
        said.append(f"{missing} of {times * TASKS} missing ({name})")
    orphans()
    return "; ".join(said)


def killed(pool: str, folder: Path, times: int) -> str:
    """Kill the process that owns the pool, and say what outlives it."""
    way, left = next(iter(WAYS[pool].values())), 0
    for at in range(times):
        alone(_collect, way, -1, 0.5, folder / f"killed-{pool}-{at}", kill_after=1.5)
        left += orphans()
    return f"nothing is kept, all {TASKS} begin anew; {left / times:g} processes are there {GRACE:g} s later"
