"""What a job does: the work on one task, each result handed in the moment it is there, for as long as it is wanted."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from robustreg.engines.elsewhere import packed
from robustreg.engines.signals import end_with_parent
from robustreg.errors import RobustregError
from robustreg.study.disk import write_whole
from robustreg.study.lock import Holder

from .parcel import opened, sealed

STALE = 300.0  # seconds without a heartbeat after which a job ends itself: many beats, and what NFS may hide of them
LOOK = 1.0  # seconds between two looks
TELL = 1.0  # seconds between two notes


@dataclass(frozen=True)
class Order:
    """What a job needs to know beside its arguments.

    Attributes:
        task: the number of the task.
        desk: the folder where results are handed in.
        work: the file that holds the work, as a parcel.
        sha256: of that file.
        heart: the file that the coordinator touches as long as it lives.
        holder: the coordinator.
        threads: of torch.
    """

    task: int
    desk: Path
    work: Path
    sha256: str
    heart: Path
    holder: Holder
    threads: int

    def file(self, what: str | int) -> Path:
        """Return the file for a result, by its place, or for something else, by its name."""
        return self.desk / file_name(self.task, what)


def file_name(task: int, what: str | int) -> str:
    """Return the name of a file that a job hands in."""
    return f"{task}.{what}"


def do(order: Order, arguments: bytes) -> NoReturn:
    """Do the work on a task, and end the process."""
    local = os.environ.get("SUBMITIT_EXECUTOR") == "local"
    _settle(local)
    with suppress(FileExistsError):
        order.file("begun").open("x").close()
        threading.Thread(target=_guard, args=(order, local), name="guard", daemon=True).start()
        _work(order, arguments)
    # It was begun already where Slurm has started it again: that is for the coordinator to decide. Threads that the
    # work has left must keep nothing alive, and nobody asks for what submitit would write now.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _work(order: Order, arguments: bytes) -> None:
    error, count, told = None, 0, 0.0

    def note(value: Any) -> None:
        nonlocal told
        if time.monotonic() - told > TELL:
            told = time.monotonic()
            with suppress(OSError, RobustregError):  # progress is worth no failure
                write_whole(order.file("note"), sealed(value))

    try:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # before what imports torch
            os.environ[name] = str(order.threads)
        work = opened(order.work.read_bytes(), order.sha256)
        order.file("ready").touch()
        for result in work(note, *opened(arguments)):
            write_whole(order.file(count), sealed(result))
            count += 1
    except BaseException as raised:  # a plugin must not decide how a job ends
        error = packed(raised)
    write_whole(order.file("over"), sealed((count, error)))


def _settle(local: bool) -> None:
    """Die of the signals that mean it, at once and whatever the work does: nothing of it may catch its own end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Before the time is up, submitit's local executor sends this once; on Slurm it comes up to a minute early.
    signal.signal(signal.SIGUSR2, signal.SIG_DFL if local else signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator
    if local:
        end_with_parent()
    if _orphaned(local):
        os._exit(1)


def _orphaned(local: bool) -> bool:
    """Whether the process that watches this one is gone: submitit names a local job after it."""
    return local and os.environ.get("SUBMITIT_LOCAL_JOB_ID") != str(os.getppid())


def _guard(order: Order, local: bool) -> None:
    """End this process once nobody waits for it: the coordinator is gone, or its folder, or its heart stands still."""
    last, since = -1, time.monotonic()
    while not _orphaned(local) and not (local and order.holder.runs is False):
        try:
            beat = order.heart.stat().st_mtime_ns
        except FileNotFoundError:
            break
        except OSError:  # a file server that does not answer now
            beat = last
        if beat != last:  # seen to change by this machine's clock: those of others may differ
            last, since = beat, time.monotonic()
        if time.monotonic() - since > STALE:
            break
        time.sleep(LOOK)
    os._exit(1)
