"""The contract of engines: they do tasks, here or elsewhere, and stream back what comes of them.

An engine knows nothing of studies. It is started with one function, the work, and given arguments for it, task by task:

    engine = start(work, on_note)
    number = engine.submit(*arguments)      # some day: for result in work(note, *arguments)
    event = engine.wait()                   # one result of some task, or the end of one

What the work yields arrives, each as soon as it is there. What it tells `note` is progress: it comes to `on_note` with
the number of the task, at once, late or not at all, as the engine can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import RobustregError

Work = Callable[..., Iterator[Any]]
OnNote = Callable[[int, Any], None]


class WorkerLostError(RobustregError):
    """The process that did a task has died; the task may well be done again."""


class TimeUpError(WorkerLostError):
    """A task took longer than it was allowed to, and was ended."""


@dataclass(frozen=True)
class Event:
    """What an engine has to say of a task.

    Attributes:
        task: its number, as `submit` gave it.
        result: what the work yielded; None in the last event of a task.
        over: whether this is the last event of the task.
        error: in the last event, why the task did not get to its end: what the work raised, or a WorkerLostError. An
            error of robustreg keeps its class; any other may come as a RuntimeError that names it.
    """

    task: int
    result: Any = None
    over: bool = False
    error: BaseException | None = None


class Engine(Protocol):
    """Something that does tasks. An exception of the work ends its task; an engine does nothing twice by itself,
    unless it knows that the first try left no event."""

    def capacity(self) -> int:
        """Return how many tasks can be under way at once; it may change."""

    def submit(self, *arguments: Any, seconds: float = 0.0) -> int:
        """Take a task and return its number; `seconds` is how long it may take where that can be helped, 0 for ever."""

    def wait(self) -> Event:
        """Return the next event of the tasks that were taken; it waits for one, and there must be such a task."""

    def close(self) -> None:
        """End at once whatever is under way, and leave nothing behind."""


@dataclass(frozen=True)
class EngineSource:
    """An engine as a plugin offers it.

    Args:
        name: lower-case word, unique among the installed engines.
        start: from the work, `on_note`, and options as keyword arguments with defaults, to the engine.
        problem: says in words why it cannot be used here; empty where it can.
        about: one sentence.
    """

    name: str
    start: Callable[..., Engine]
    problem: Callable[[], str]
    about: str
