"""What the engine asks of a cluster, be it Slurm or processes of this machine."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from robustreg.engines import TimeUpError, WorkerLostError
from robustreg.errors import RobustregError, printable

LONGEST = 300  # characters of a log that are quoted


class RefusedError(RobustregError):
    """A job that the cluster does not take, or not now."""


class Cluster(Protocol):
    """Something that runs jobs.

    Attributes:
        look: seconds between two looks at what jobs have handed in.
        ask: seconds between two questions which of them have ended.
        patience: seconds that files of a job may need to arrive after it has ended.
    """

    look: float
    ask: float
    patience: float

    def begin(self, *arguments: object) -> str:
        """Let a job call `job.do` with these arguments, and return its number; RefusedError where it cannot."""

    def gone(self, jobs: Collection[str]) -> set[str]:
        """Return which of these jobs have ended, as far as can be known now."""

    def why(self, job: str, seconds: float) -> WorkerLostError:
        """Return why a job that has ended did not get to its end; it ran for so many seconds."""

    def end(self, jobs: Collection[str]) -> None:
        """End some jobs at once."""

    def close(self) -> None:
        """End all jobs, and wait no longer than a second: what is interrupted is to be over soon."""


def lost(folder: Path, job: str, state: str) -> WorkerLostError:
    """Return the error of a job that has died in a state, with the last line of what it said."""
    return WorkerLostError(f"job {job} {state}{_last_words(folder, job)}")


def late(job: str, minutes: float) -> TimeUpError:
    """Return the error of a job that has taken its time."""
    return TimeUpError(f"job {job} was not done after {minutes:g} minutes, the time a job is given (slurm:minutes=N)")


def _last_words(folder: Path, job: str) -> str:
    try:
        log = (folder / f"{job}_0_log.err").read_bytes()[-10_000:].decode(errors="replace")
    except OSError:
        return ""
    said = [line for line in map(printable, log.splitlines()) if line and not line.startswith("submitit ")]
    return f"; the last line of its log: {said[-1][:LONGEST]}" if said else ""
