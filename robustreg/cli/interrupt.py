"""Ctrl-C, and SIGTERM as the same: a command ends within two seconds, whatever it is doing."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 1.5  # seconds in which a command may come to its end by itself
_OVER = b"\0"  # no signal has this number


@contextmanager
def interruptible(last_words: Callable[[], tuple[str, str]], code: int, *, last: bool = False) -> Iterator[None]:
    """Let SIGTERM interrupt the block as Ctrl-C does, and end the process where the block does not come to its end.

    Python hears of a signal between two of its own steps, and one operation on large tensors may take longer than a
    user waits, as may a plugin that swallows the interruption. What is finished is safe in either case: a study
    outlives being killed anywhere.

    Args:
        last_words: what to print on standard output and standard error before such an end.
        code: the exit code of it.
        last: whether nothing is done after the block, so that signals may stay as they are at its end.
    """
    if threading.current_thread() is not threading.main_thread() or os.name != "posix":
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    out = _duplicate(1)  # what is now standard output: an engine may send it elsewhere for a while
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reading, out, last_words, code), daemon=True)
    watcher.start()
    try:
        if before[signal.SIGTERM] is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield
    finally:
        signal.set_wakeup_fd(heard)
        os.write(writing, _OVER)
        watcher.join()
        for number, handler in before.items() if not last else ():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for descriptor in (reading, writing, *([out] if out >= 0 else [])):
            os.close(descriptor)


def ignore() -> None:
    """Ignore what would interrupt: it has been heard, and what is left is to say so."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def leave(code: int) -> NoReturn:
    """End the process once what was printed is out."""
    ignore()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            stream.flush()
    os._exit(code)


def _watch(reading: int, out: int, last_words: Callable[[], tuple[str, str]], code: int) -> None:
    """Wait for a signal, then for the end of the block; end the process if that does not come in time."""
    while (came := os.read(reading, 1)) != _OVER:
        if came[0] in SIGNALS:
            break
    else:
        return
    until = time.monotonic() + PATIENCE
    while (left := until - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0] and os.read(reading, 1) == _OVER:
            return
    document, message = last_words()
    for descriptor, text in ((out, document), (2, message)):
        with suppress(OSError):
            os.write(descriptor, text.encode(errors="replace"))
    os._exit(code)


def _duplicate(descriptor: int) -> int:
    try:
        return os.dup(descriptor)
    except OSError:  # it is closed
        return -1
