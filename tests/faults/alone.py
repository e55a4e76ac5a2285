"""A function in a process of its own that may be killed, and how many processes it leaves behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .nursery import ADOPTS_ORPHANS

LONGEST = 60.0  # seconds
GRACE = 3.0  # seconds that what outlives it has to end


def alone(work: Callable[..., Any], *given: Any, kill_after: float = 0.0, limit: int = 0, quiet: bool = True) -> int:
    """Do some work in a forked process in a session of its own, and return its exit code.

    Args:
        work: called with `given`; the code is 0 if it returns and 1 if it raises.
        given: see `work`.
        kill_after: seconds after which the process is killed; 0 for never.
        limit: largest size of a file, as on a full disk; 0 for none.
        quiet: whether to drop what it prints.
    """
    ctypes.CDLL(None).prctl(ADOPTS_ORPHANS, 1)
    pid = os.fork()
    if not pid:
        _live(work, given, limit, quiet)
    until = time.monotonic() + (kill_after or LONGEST)
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def orphans() -> int:
    """Return how many processes outlived those that `alone` ended, and end them."""
    until = time.monotonic() + GRACE
    while (left := _children()) and time.monotonic() < until:
        _reap(left)
        time.sleep(0.02)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while more := _children():
        _reap(more)
        time.sleep(0.01)
    return len(left)


def _children() -> list[int]:
    found = []
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        with suppress(OSError):
            if os.getsid(pid) != os.getsid(0):  # one of those that were forked here, or a child of it
                found.append(pid)
    return found


def _reap(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _live(work: Callable[..., Any], given: tuple[Any, ...], limit: int, quiet: bool) -> None:
    code = 1
    try:
        os.setsid()
        if quiet:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number in (1, 2):
                os.dup2(nowhere, number)
        if limit:
            import resource

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        work(*given)
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)
