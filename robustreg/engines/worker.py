"""A worker process of the local engine: what it does, and how this process talks with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import time
import warnings
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any

from .elsewhere import one_thread, packed, quiet, unpacked
from .engine import Event, TimeUpError, Work, WorkerLostError
from .signals import end_with_parent


class Worker:
    """A process that does one task at a time for as long as its parent lives.

    It is forked, so that the work and all it knows are inherited and need not be pickled; only arguments and results go
    through a pipe. Forking is safe for torch on a CPU as long as the child starts no threads of its own, as in torch's
    DataLoader: a worker computes with one thread.
    """

    def __init__(self, work: Work, strangers: Iterable[Connection]) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        arguments = (work, theirs, [self.pipe, *strangers], os.getpid())
        self.process = multiprocessing.get_context("fork").Process(target=_live, args=arguments, daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # until the child minds
        try:
            with warnings.catch_warnings():  # of threads in this process, such as the one that draws progress
                warnings.simplefilter("ignore", DeprecationWarning)
                self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.task: int | None = None
        self.seconds = 0.0
        self.deadline: float | None = None

    def give(self, task: int, arguments: tuple[Any, ...], seconds: float) -> None:
        """Send it a task, to be done in so many seconds if these are not 0."""
        self.task, self.seconds = task, seconds
        self.deadline = time.monotonic() + seconds if seconds else None
        with contextlib.suppress(OSError):  # it has died: seen when it is listened to
            _send(self.pipe, task, arguments)

    def hear(self, talks: bool) -> tuple[str, Event] | None:
        """Return a kind ("note", "result", "over" or "lost") and the event; None when there is nothing to say.

        Args:
            talks: whether its pipe can be read from.
        """
        assert self.task is not None
        if talks:
            try:
                kind, value = self.pipe.recv()
            except (EOFError, OSError):
                return "lost", Event(self.task, over=True, error=self._death())
            if kind != "over":
                return kind, Event(self.task, value)
            task, self.task = self.task, None
            return kind, Event(task, over=True, error=None if value is None else unpacked(*value))
        if self.deadline is not None and time.monotonic() > self.deadline:
            error = TimeUpError(f"it was not done after {self.seconds:g} s, the time it was given")
            return "lost", Event(self.task, over=True, error=error)
        if not self.process.is_alive() and not self.pipe.poll():
            return "lost", Event(self.task, over=True, error=self._death())
        return None

    def _death(self) -> WorkerLostError:
        self.process.join(1.0)
        code = self.process.exitcode
        how = "stopped answering" if code is None else f"ended itself with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by signal {-code}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
        return WorkerLostError(f"the worker process {how}")

    def end(self) -> None:
        """End it at once, whatever it does: what it has found was sent, and it owns nothing else."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


def _live(work: Work, pipe: Connection, strangers: Iterable[Connection], parent: int) -> None:
    """The life of the child: tasks in, results out, until the pipe ends."""
    end_with_parent()
    if os.getppid() != parent:  # which died before the line above
        os._exit(1)
    signal.set_wakeup_fd(-1)  # that of the parent, who would take the signals of this process for its own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the coordinator decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    for stranger in strangers:  # an open end here would hide from a brother that the parent is gone
        stranger.close()
    quiet()
    # What the work starts, such as the processes of a DataLoader, ends with this process.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    one_thread()
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            _do(work, pipe, *pipe.recv())


def _do(work: Work, pipe: Connection, task: int, arguments: tuple[Any, ...]) -> None:
    try:
        for result in work(lambda value: _send(pipe, "note", value), *arguments):
            _send(pipe, "result", result)
    except BrokenPipeError:
        raise
    except BaseException as error:  # a plugin must not end the worker
        _send(pipe, "over", packed(error))
    else:
        _send(pipe, "over", None)


def _send(pipe: Connection, what: str | int, value: Any) -> None:
    pipe.send_bytes(
        pickle.dumps((what, value), protocol=pickle.HIGHEST_PROTOCOL)
    )  # not as multiprocessing pickles tensors
