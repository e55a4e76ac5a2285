"""What the plugin offers: the engine `slurm`, its options, and whether it can be used. Free of torch and submitit."""

from __future__ import annotations

import os
import shutil
from functools import partial

from robustreg.engines import Engine, EngineSource, OnNote, Work, cores
from robustreg.errors import UsageError, suggest

CLUSTERS = ("slurm", "local")
COMMANDS = ("sbatch", "srun", "squeue", "scancel")
FOLDER = "robustreg-slurm"
JOBS = 16  # at once on a cluster, where nothing else was asked for
LONGEST = 60 * 24 * 366  # minutes of a job


def start(
    work: Work,
    on_note: OnNote,
    *,
    cluster: str = "",
    jobs: int = 0,
    partition: str = "",
    account: str = "",
    minutes: int = 60,
    cpus: int = 1,
    gpus: int = 0,
    memory: float = 0.0,
    folder: str = FOLDER,
) -> Engine:
    """Return an engine that does every task as a job.

    Args:
        work: what a job does; it and its arguments are pickled.
        on_note: told of progress, a few seconds late.
        cluster: "slurm", or "local" for processes of this machine, by which everything but Slurm itself can be tried.
        jobs: how many are submitted at once; 0 is 16, or on "local" one for each core this process may use.
        partition: where jobs are queued; the cluster's default when empty.
        account: to which they are charged; the user's default when empty.
        minutes: how long a job may take, and so a task.
        cpus: cores of a job, and threads of torch in it. Bits are promised for 1.
        gpus: of a job.
        memory: of a job, in GB; the cluster's default for 0.
        folder: where files go to and fro: private, and on a file system that this machine and the jobs share.

    Raises:
        UsageError: for an option that cannot be, a machine that has no Slurm, or a folder that is not private.
    """
    whole = {
        "jobs": (jobs, 0, 10_000),
        "minutes": (minutes, 1, LONGEST),
        "cpus": (cpus, 1, 4096),
        "gpus": (gpus, 0, 64),
    }
    for name, (value, least, most) in whole.items():
        if not least <= value <= most:
            raise UsageError(f"engine slurm takes {name} from {least} to {most:,}, got {value}")
    if not 0 <= memory <= 1e6:
        raise UsageError(f"engine slurm takes memory in GB from 0 (the cluster's default) to 1e6, got {memory:g}")
    if cluster not in ("", *CLUSTERS):
        names = " or ".join(CLUSTERS)
        raise UsageError(f"engine slurm takes cluster={names}, got {cluster!r}.{suggest(cluster, CLUSTERS)}")
    if trouble := problem():
        raise UsageError(f"engine slurm cannot be used: {trouble}")
    from .engine import Jobs  # it needs submitit, and so do the clusters
    from .folder import Folder
    from .local import Local
    from .slurm import Slurm, Wishes

    if cluster == "local":
        place = Folder(folder, cluster)
        here = partial(Local, minutes=minutes, gpus=gpus)
        return Jobs(work, on_note, place, here, jobs=jobs or cores(), threads=cpus)
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        raise UsageError(
            f"engine slurm needs the commands of Slurm, and {', '.join(missing)} cannot be found on this machine; start"
            " it on a login node of the cluster, or try it with processes of this machine, as slurm:cluster=local"
        )
    there = partial(Slurm, wishes=Wishes(partition, account, minutes, cpus, gpus, memory))
    return Jobs(work, on_note, Folder(folder, "slurm"), there, jobs=jobs or JOBS, threads=cpus)


def problem() -> str:
    """Say why jobs can be started on no cluster from here; empty where they can."""
    if os.name != "posix":
        return f"it needs a POSIX system with owners of files, and this is {os.name}"
    return ""


SLURM = EngineSource("slurm", start, problem, "Jobs of a Slurm cluster, by submitit; cluster=local tries it here.")
