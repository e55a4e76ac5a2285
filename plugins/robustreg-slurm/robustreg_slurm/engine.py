"""The engine: one job for each task, results as jobs hand them in, and an end for every task."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from robustreg.engines import Event, OnNote, TimeUpError, Work, WorkerLostError
from robustreg.engines.elsewhere import unpacked
from robustreg.engines.signals import uninterrupted
from robustreg.errors import RobustregError, StoreError, UsageError, printable
from robustreg.study.disk import on_disk, write_whole

from .cluster import Cluster, RefusedError
from .folder import HEART, WORK, Folder
from .job import Order, file_name
from .parcel import SIZE, opened, sealed

PATIENT = 20  # times that a job may be refused in a row while none is under way, once one was taken


@dataclass
class Task:
    """A task whose job was begun.

    Attributes:
        number: of the task.
        job: of its job.
        seconds: how long it may take, 0 for ever.
        given: how many results have come of it.
        begun: when its job was first seen.
        ready: when it was first seen to have unpacked its work: from then on its seconds count.
        ended: when its job was first seen to have ended.
        noted: the last note that was passed on.
    """

    number: int
    job: str
    seconds: float
    given: int = 0
    begun: float | None = None
    ready: float | None = None
    ended: float | None = None
    noted: bytes = b""


class Jobs:
    """Does tasks as jobs of a cluster.

    Args:
        work: what a job does. It is written once, for all jobs, and read by each.
        on_note: told of progress.
        folder: where files go to and fro; removed at the end.
        cluster: from the folder to what runs the jobs.
        jobs: how many may be submitted at once.
        threads: of torch in each.
    """

    def __init__(
        self,
        work: Work,
        on_note: OnNote,
        folder: Folder,
        cluster: Callable[[Folder], Cluster],
        *,
        jobs: int,
        threads: int = 1,
    ) -> None:
        self._on_note, self._folder, self._jobs, self._threads = on_note, folder, jobs, threads
        self._waiting: deque[tuple[int, bytes, float]] = deque()
        self._tasks: dict[int, Task] = {}
        self._ready: deque[Event] = deque()
        self._count = self._taken = self._refused = 0
        self._asked = self._again = 0.0
        self._open = True
        try:
            with on_disk(folder.path):
                parcel = _sent(work, "the work")
                write_whole(folder.path / WORK, parcel)
            self._sha256 = parcel[:SIZE].hex()
            self._cluster = cluster(folder)
        except BaseException:
            folder.remove()
            raise

    def capacity(self) -> int:
        """Return how many jobs may be submitted at once."""
        return self._jobs

    def submit(self, *arguments: Any, seconds: float = 0.0) -> int:
        """Take a task, of picklable arguments, and return its number; its seconds count once its job has begun."""
        self._count += 1
        self._waiting.append((self._count, _sent(arguments, "the arguments of a task"), seconds))
        self._feed()
        return self._count

    def wait(self) -> Event:
        """Wait for the next event of a task.

        Raises:
            UsageError: when the cluster takes no job.
        """
        while not self._ready:
            if not self._tasks and not self._waiting:
                raise RuntimeError("there is no task to wait for")
            self._feed()
            self._look()
            if not self._ready:
                time.sleep(self._cluster.look)
        return self._ready.popleft()

    def _feed(self) -> None:
        while self._waiting and len(self._tasks) < self._jobs and time.monotonic() >= self._again:
            number, arguments, seconds = self._waiting[0]
            try:
                with on_disk(self._folder.path):
                    job = self._cluster.begin(self._order(number), arguments)
            except RefusedError as error:
                self._refused = 0 if self._tasks else self._refused + 1
                # What is refused at first is asked for wrongly; later on it is a limit, or a scheduler that is busy.
                if not self._taken or self._refused > PATIENT:
                    raise UsageError(f"{error}; see the options of engine slurm") from error
                self._again = time.monotonic() + self._cluster.ask
                return
            self._waiting.popleft()
            self._taken, self._refused = self._taken + 1, 0
            self._tasks[number] = Task(number, job, seconds)

    def _order(self, number: int) -> Order:
        folder = self._folder
        heart, work = folder.path / HEART, folder.path / WORK
        return Order(number, folder.desk, work, self._sha256, heart, folder.holder, self._threads)

    def _look(self) -> None:
        """Ask which jobs have ended, then see what was handed in: so nothing of a job that has ended is missed."""
        now = time.monotonic()
        if self._tasks and now - self._asked >= self._cluster.ask:
            ended = self._cluster.gone([task.job for task in self._tasks.values()])
            self._asked = time.monotonic()
            for task in self._tasks.values():
                # From this answer on, so that a verdict waits for the next one: Slurm may not know a job yet.
                task.ended = (task.ended or self._asked) if task.job in ended else None
        names = self._folder.names()
        if names is None:  # and nobody is judged by what cannot be seen
            return
        for task in list(self._tasks.values()):
            try:
                self._read(task, names)
            except (OSError, StoreError) as error:
                self._cluster.end([task.job])
                self._over(task, WorkerLostError(f"what job {task.job} has handed in cannot be read: {error}"))
        for task in list(self._tasks.values()):
            self._judge(task, now)

    def _read(self, task: Task, names: set[str]) -> None:
        if task.begun is None and file_name(task.number, "begun") in names:
            task.begun = time.monotonic()
        if task.ready is None and file_name(task.number, "ready") in names:
            task.ready = time.monotonic()
        if file_name(task.number, "note") in names:
            self._note(task)
        while file_name(task.number, task.given) in names:
            result = self._take(task, task.given)
            self._ready.append(Event(task.number, result))
            task.given += 1
        if file_name(task.number, "over") in names:
            count, error = opened((self._folder.desk / file_name(task.number, "over")).read_bytes())
            if count == task.given:
                self._over(task, None if error is None else unpacked(*error))

    def _take(self, task: Task, what: int) -> Any:
        path = self._folder.desk / file_name(task.number, what)
        value = opened(path.read_bytes())
        path.unlink()
        return value

    def _note(self, task: Task) -> None:
        with suppress(OSError, StoreError):  # the next one will be there
            parcel = (self._folder.desk / file_name(task.number, "note")).read_bytes()
            if parcel != task.noted:
                task.noted = parcel
                self._on_note(task.number, opened(parcel))

    def _judge(self, task: Task, now: float) -> None:
        """End a task whose job has ended without a word, or has taken too long."""
        if task.ended is not None and now - task.ended >= self._cluster.patience:
            ran = 0.0 if task.begun is None else task.ended - task.begun
            self._over(task, self._cluster.why(task.job, ran))
        elif task.seconds and task.ready is not None and now - task.ready > task.seconds:
            self._cluster.end([task.job])
            error = TimeUpError(f"job {task.job} was not done after {task.seconds:g} s, the time it was given")
            self._over(task, error)

    def _over(self, task: Task, error: BaseException | None) -> None:
        self._ready.append(Event(task.number, over=True, error=error))
        del self._tasks[task.number]
        for what in ("ready", "note", "over"):  # "begun" stays: it keeps a job that Slurm starts again from working
            with suppress(OSError):
                (self._folder.desk / file_name(task.number, what)).unlink(missing_ok=True)

    def close(self) -> None:
        """End all jobs at once, and remove all files."""
        if not self._open:
            return
        self._open = False
        for queue in (self._waiting, self._tasks, self._ready):
            queue.clear()
        with uninterrupted():
            self._cluster.close()
            self._folder.remove()


def _sent(value: Any, what: str) -> bytes:
    try:
        return sealed(value)
    except RobustregError:  # a study says by itself why it cannot be sent
        raise
    except Exception as error:  # whatever an object raises that is asked to pickle itself
        raise UsageError(
            f"{what} cannot be sent to jobs: {type(error).__name__}: {printable(str(error))}; engines serial and local"
            " send nothing"
        ) from error
