"""Jobs as processes of this machine, by submitit's local executor: everything of a cluster but Slurm itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import cast

import submitit
from submitit.local.local import LocalJob

from robustreg.engines import WorkerLostError
from robustreg.engines.elsewhere import interpreter

from .cluster import late, lost
from .folder import Folder
from .job import do

LEAVING = 0.5  # seconds that jobs may take to end before they are killed
SAFE = "PYTHONSAFEPATH"  # in the environment it is what -P is to Python
SLACK = 5.0  # seconds between the begin of a job's process and that of its work


class Local:
    """Does each job in an interpreter of its own, started and watched by another one.

    Args:
        folder: where files go to and fro.
        minutes: how long a job may take.
        gpus: how many of this machine's each job sees, the first ones.
    """

    look, ask, patience = 0.1, 0.1, 0.0

    def __init__(self, folder: Folder, *, minutes: float = 60.0, gpus: int = 0) -> None:
        self._folder, self._minutes = folder, minutes
        self._jobs: dict[str, LocalJob[None]] = {}
        self._executor = submitit.LocalExecutor(folder.path)
        self._executor.update_parameters(timeout_min=minutes, gpus_per_node=gpus, signal_delay_s=0)

    def begin(self, *arguments: object) -> str:
        """Start a job and return its number."""
        with _to_inherit():
            begun = cast("LocalJob[None]", self._executor.submit(do, *arguments))
        self._jobs[begun.job_id] = begun
        return begun.job_id

    def gone(self, jobs: Collection[str]) -> set[str]:
        """Return which have ended."""
        return {each for each in jobs if not self._runs(each)}

    def _runs(self, job: str) -> bool:
        process = self._jobs[job]._process
        return process is not None and process.poll() is None

    def why(self, job: str, seconds: float) -> WorkerLostError:
        """Return how a job ended, as far as its watcher leaves traces."""
        if seconds > 60 * self._minutes - SLACK:
            return late(job, self._minutes)
        return lost(self._folder.path, job, "ended before its work was done")

    def end(self, jobs: Collection[str]) -> None:
        """Ask some jobs to end, and kill those that do not."""
        self._signal(jobs, signal.SIGTERM)  # which the watcher of a job hands on
        deadline = time.monotonic() + LEAVING
        while any(map(self._runs, jobs)) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._signal(jobs, signal.SIGKILL)  # and with its watcher a job dies
        for each in jobs:
            process = self._jobs[each]._process
            if process is not None:
                process.wait()

    def _signal(self, jobs: Collection[str], number: signal.Signals) -> None:
        for process in (self._jobs[each]._process for each in jobs):
            if process is not None and process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def close(self) -> None:
        """End all jobs."""
        self.end(list(self._jobs))


@contextmanager
def _to_inherit() -> Iterator[None]:
    """Start processes that look for modules where this one does, see `interpreter`, and do not hear of Ctrl-C, which
    reaches the whole group of processes and is for the coordinator alone."""
    safe = {} if SAFE in os.environ or "-P" not in interpreter() else {SAFE: "1"}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(safe)
    try:
        yield
    finally:
        for name in safe:
            del os.environ[name]
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
