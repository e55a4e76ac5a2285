"""What is asked of Slurm. `squeue` knows what is under way, and for some minutes how it ended; `sacct` knows that for
long, where a cluster keeps accounts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from contextlib import suppress

ANSWER = 60.0  # seconds that a command of Slurm may take
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
LATE = {"DEADLINE", "TIMEOUT"}


def squeue(name: str) -> dict[str, str] | None:
    """Return the state of each job of this name that Slurm has in mind; None where it does not answer now."""
    told = _told("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%A %T")
    if told is None:
        return None
    return {words[0]: words[1] for line in told.splitlines() if len(words := line.split()) == 2}


def sacct(job: str) -> str:
    """Return the state in which a job ended, such as NODE_FAIL; empty where the cluster keeps no accounts."""
    told = _told("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State")
    return "" if told is None else (told.split() or [""])[0]  # CANCELLED is followed by whose wish that was


def scancel(name: str = "", jobs: Iterable[str] = (), *, patience: float = ANSWER) -> None:
    """End jobs at once: all of a name, or some by number. After `patience` seconds nobody waits for it any more."""
    which = [*([f"--name={name}"] if name else []), *jobs]
    if which:
        nothing = subprocess.DEVNULL
        with suppress(OSError, subprocess.TimeoutExpired):
            # A session of its own: a second Ctrl-C is not to end it.
            subprocess.Popen(
                ["scancel", *which], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
            ).wait(patience)


def _told(*command: str) -> str | None:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=ANSWER, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout
