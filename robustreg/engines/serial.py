"""The serial engine: one task after the other, in this process."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

from .engine import Engine, EngineSource, Event, OnNote, Work


class Serial:
    """Does tasks in this process, in the order they were submitted. What the work prints, or native code
    of it writes to standard output, goes to standard error.

    A task cannot be ended from outside, so `seconds` says nothing here; Ctrl-C goes through `wait`.
    """

    def __init__(self, work: Work, on_note: OnNote) -> None:
        self._work, self._on_note = work, on_note
        self._waiting: deque[tuple[int, tuple[Any, ...]]] = deque()
        self._now: tuple[int, Iterator[Any]] | None = None
        self._count = 0
        self._out = os.dup(1) if _standard() else -1

    def capacity(self) -> int:
        """Return 1."""
        return 1

    def submit(self, *arguments: Any, seconds: float = 0.0) -> int:
        """Take a task and return its number."""
        self._count += 1
        self._waiting.append((self._count, arguments))
        return self._count

    def wait(self) -> Event:
        """Go on with the task to its next result, or to its end."""
        task, results = self._now or self._begin(*self._waiting.popleft())
        self._now = task, results
        try:
            with _printing(sys.stderr, 2 if self._out >= 0 else -1):
                return Event(task, next(results))
        except StopIteration:
            error: BaseException | None = None
        except (Exception, SystemExit) as raised:
            error = raised
        self._now = None
        return Event(task, over=True, error=error)

    def _begin(self, task: int, arguments: tuple[Any, ...]) -> tuple[int, Iterator[Any]]:
        here = sys.stdout

        def note(value: Any) -> None:
            with _printing(here, self._out):  # who listens may print
                self._on_note(task, value)

        def results() -> Iterator[Any]:  # so that whatever the work raises, it raises in `wait`
            yield from self._work(note, *arguments)

        return task, results()

    def close(self) -> None:
        """Forget what is left."""
        self._waiting.clear()
        self._now = None
        if self._out >= 0:
            os.close(self._out)
        self._out = -1


@contextmanager
def _printing(stream: TextIO, descriptor: int) -> Iterator[None]:
    """Send what is printed to a stream, and what native code writes to standard output to its file descriptor.

    A descriptor below 0 leaves native code alone.
    """
    if descriptor < 0:
        with redirect_stdout(stream):
            yield
        return
    _flush()
    before = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        with redirect_stdout(stream):
            yield
            _flush()
    finally:
        os.dup2(before, 1)
        os.close(before)


def _standard() -> bool:
    """Whether descriptors 1 and 2 are the standard streams: where these were closed, they are any files."""
    try:
        return (sys.__stdout__.fileno(), sys.__stderr__.fileno()) == (1, 2)  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        return False


def _flush() -> None:
    with suppress(OSError, ValueError, AttributeError):  # a reader that is gone, or no stream at all: said elsewhere
        sys.stdout.flush()


def start(work: Work, on_note: OnNote) -> Engine:
    """Return a serial engine."""
    return Serial(work, on_note)


SERIAL = EngineSource("serial", start, lambda: "", "One task after the other, in this process.")
