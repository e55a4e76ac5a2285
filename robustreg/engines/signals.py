"""Signals, as processes that work for each other need them. Free of torch."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the end of the block, so that what is begun in it is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in held:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, before in held.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)
        if came:
            signal.raise_signal(came[0])


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, where it can (on Linux).

    A parent that has ended before is not seen: whoever calls has to look.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_AT_PARENTS_DEATH, signal.SIGKILL)
