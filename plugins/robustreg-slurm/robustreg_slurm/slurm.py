"""Jobs of a Slurm cluster: submitted by submitit, and looked after by the commands of Slurm."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from robustreg.engines import WorkerLostError
from robustreg.engines.elsewhere import interpreter
from robustreg.errors import printable

from .cluster import RefusedError, late, lost
from .folder import Folder
from .job import do
from .scheduler import ENDED, LATE, sacct, scancel, squeue

LEAVING = 0.8  # seconds that an end may wait for Slurm to cancel jobs
SLACK = 90.0  # seconds by which Slurm and a job may differ about how long it ran


@dataclass(frozen=True)
class Wishes:
    """What is asked for each job; see `source.start`."""

    partition: str = ""
    account: str = ""
    minutes: int = 60
    cpus: int = 1
    gpus: int = 0
    memory: float = 0.0

    def parameters(self) -> dict[str, Any]:
        """Return them as submitit calls them; what was not wished for is left to the cluster."""
        found: dict[str, Any] = {"time": self.minutes, "cpus_per_task": self.cpus, "ntasks_per_node": 1, "nodes": 1}
        found |= {key: value for key in ("partition", "account") if (value := getattr(self, key))}
        if self.gpus:
            found["gpus_per_node"] = self.gpus
        if self.memory:
            found["mem"] = f"{max(1, round(self.memory * 1024))}MB"
        return found


class Slurm:
    """Does jobs on Slurm. They bear the name of the folder, so that all of them can be found and ended by it.

    Args:
        folder: where files go to and fro.
        wishes: what is asked for each job.
    """

    look, ask, patience = 2.0, 30.0, 30.0

    def __init__(self, folder: Folder, wishes: Wishes) -> None:
        self._folder, self._wishes = folder, wishes
        self._states: dict[str, str] = {}
        self._any = False
        self._executor = submitit.SlurmExecutor(folder.path, python=shlex.join(interpreter()))
        # A job that Slurm starts again by itself would do again what was handed in: the coordinator decides.
        again = {"no-requeue": True}
        self._executor.update_parameters(
            **wishes.parameters(), job_name=folder.name, wckey=None, additional_parameters=again
        )

    def begin(self, *arguments: object) -> str:
        """Submit a job and return its number."""
        self._any = True
        try:
            return str(self._executor.submit(do, *arguments).job_id)
        except (FailedJobError, FailedSubmissionError) as error:
            raise RefusedError(f"sbatch does not take a job: {printable(str(error))}") from error

    def gone(self, jobs: Collection[str]) -> set[str]:
        """Return which have ended: those which Slurm says so of, or knows no more."""
        told = squeue(self._folder.name)
        if told is None:
            return set()
        self._states |= told
        return {each for each in jobs if told.get(each, "COMPLETED") in ENDED}

    def why(self, job: str, seconds: float) -> WorkerLostError:
        """Return how a job ended, as Slurm says."""
        state = self._states.get(job, "")
        if state not in ENDED:
            state = sacct(job)
        minutes = self._wishes.minutes
        if state in LATE or (not state and seconds > 60 * minutes - SLACK):
            return late(job, minutes)
        return lost(self._folder.path, job, f"ended as {state}" if state else "is gone, and Slurm does not say why")

    def end(self, jobs: Collection[str]) -> None:
        """Cancel some jobs."""
        scancel(jobs=jobs)

    def close(self) -> None:
        """Cancel all jobs of this engine."""
        if self._any:  # those which this does not reach end themselves, once the folder is gone
            scancel(self._folder.name, patience=LEAVING)
