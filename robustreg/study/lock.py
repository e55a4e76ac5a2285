"""Who coordinates a study: one process at a time, by a row in its store."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_START = 19  # of the fields of /proc/PID/stat that follow the name: when the process began, in ticks since the boot


@dataclass(frozen=True)
class Holder:
    """A process that coordinates a study.

    Attributes:
        pid: its number.
        host: the machine it runs on.
        started: when it began, as the system says it; another process that was given its number began later.
        since: when it took the lock, in seconds since 1970.
    """

    pid: int
    host: str
    started: str
    since: float

    @classmethod
    def me(cls) -> Holder:
        """Return this process."""
        return cls(os.getpid(), socket.gethostname(), start_of(os.getpid()) or "", time.time())

    @property
    def runs(self) -> bool | None:
        """Whether the process is alive; None for one on another machine or in another container, which cannot be
        asked: there the number means another process.
        """
        if self.host != socket.gethostname() or _elsewhere(self.started):
            return None
        return start_of(self.pid) == self.started

    def to_dict(self) -> dict[str, Any]:
        """Return number, machine and time as plain values."""
        return {"pid": self.pid, "host": self.host, "since": self.since}

    def __str__(self) -> str:
        try:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        except (ValueError, OverflowError, OSError):  # no time that a calendar has
            when = "a time that cannot be"
        return f"process {self.pid} on {self.host} since {when}"


def start_of(pid: int) -> str | None:
    """Return when a process of this machine began, as a text that only it has; None when there is no such process.

    A process that has ended and was not yet waited for counts as gone.
    """
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return None if fields[0] in "ZX" else f"{_here()} {fields[_START]}"
        except OSError:
            return None
    try:
        told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return told.stdout.strip() or None
    except OSError:
        return None


def _here() -> str:
    """Since when this machine runs, and among which of its processes this one counts."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"


def _elsewhere(started: str) -> bool:
    """Whether a text of `start_of` is of a process that runs beside those this one can see."""
    try:
        boot, processes = _here().split()
    except OSError:
        return False
    return started.startswith(f"{boot} ") and started.split()[1] != processes
