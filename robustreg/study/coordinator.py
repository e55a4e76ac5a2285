"""Give the tasks of a study to an engine, in a good order, and keep each run the moment it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from ..engines import Engine, Event, OnNote, TimeUpError, Work, WorkerLostError
from ..engines.signals import uninterrupted
from ..errors import DiskFullError, UsageError, printable
from .execute import Saved, blank, execute
from .pace import Pace
from .parcel import StudyWork
from .plan import Plan, PlannedRun
from .record import Record
from .store import Store
from .tasks import Task, is_baseline, tasks_of

TRIES = 3  # of a run whose worker process dies


class Coordinator:
    """Does the runs of a plan that are not done yet, on an engine. Only it writes to the store.

    Args:
        plan: the study.
        runs: all its runs.
        kept: the records of those that are done, by position.
        store: where they are kept; None for nowhere.
        pace: told what happens.
        seconds: how long one run may take, 0 for ever; heeded by engines that can.
    """

    def __init__(
        self,
        plan: Plan,
        runs: Sequence[PlannedRun],
        kept: Mapping[int, Record],
        store: Store | None,
        pace: Pace,
        *,
        seconds: float = 0.0,
    ) -> None:
        self._plan, self._runs, self._store, self._pace, self._seconds = plan, runs, store, pace, seconds
        self.records = dict(kept)
        self._baselines = {run.seed: index for index, run in enumerate(runs) if is_baseline(run)}
        self._files: dict[int, bytes] = {}  # of these, by seed, where there is no store to ask
        self._waiting: list[Task] = []
        self._under_way: dict[int, Task] = {}

    def do(self, todo: Sequence[int], start: Callable[[Work, OnNote], Engine]) -> None:
        """Do the runs at these positions, on an engine that is started here and closed at the end.

        Raises:
            UsageError: for a worker that did not do the run it was given, since its data are others.
            DataError: for data that cannot be read.
            StoreError, DiskFullError: when a run cannot be kept; those before it are.
        """
        engine = start(StudyWork(execute, self._plan, self._runs), self._pace.trained)
        try:
            self._waiting = tasks_of(self._plan, self._runs, todo, engine.capacity())
            while self._waiting or self._under_way:
                self._submit(engine)
                self._take(engine.wait())
        finally:
            engine.close()

    def _submit(self, engine: Engine) -> None:
        while len(self._under_way) < engine.capacity():
            task = next((task for task in self._waiting if all(map(self._settled, task.needs))), None)
            if task is None:
                return
            self._waiting.remove(task)
            files = {seed: file for seed in sorted(task.needs) if (file := self._file(seed))}
            number = engine.submit(task.runs, files, self._saved(task), seconds=self._seconds * len(task.runs))
            self._under_way[number] = task
            self._pace.start(number, self._name(task), len(task.runs))

    def _take(self, event: Event) -> None:
        if isinstance(event.result, Saved):
            self._save(event.result)
            return
        if not event.over:
            index, record, file = event.result
            if record.id != self._plan.identity(self._runs[index]):
                raise UsageError(
                    f"{self._runs[index]} came back as another run: where it was done the data or the initial weights"
                    " are not those that are here. All machines of a study have to see the same data"
                )
            self._keep(event.task, index, record, file)
            return
        task = self._under_way.pop(event.task)
        missing = [index for index in task.runs if index not in self.records]
        if isinstance(event.error, WorkerLostError):
            self._lost(event.task, task.only(missing), event.error)
        elif event.error is not None:
            raise event.error
        self._pace.end(event.task)
        needed = {seed for task in (*self._waiting, *self._under_way.values()) for seed in task.needs}
        self._files = {seed: file for seed, file in self._files.items() if seed in needed}

    def _lost(self, number: int, task: Task, error: WorkerLostError) -> None:
        """What was under way when a worker died is begun again: together once, then each run by itself, so that the
        one that kills its worker takes no other with it."""
        tries = task.tries + 1
        if len(task.runs) > 1 and tries == 1 and not isinstance(error, TimeUpError):
            again = [replace(task, tries=tries)]
        elif len(task.runs) > 1:
            again = [replace(task.only([index]), tries=TRIES - 1) for index in task.runs]
        elif task.runs and tries < TRIES and not isinstance(error, TimeUpError):
            again = [replace(task, tries=tries)]
        else:
            again = []
            for index in task.runs:
                record = blank(self._plan, self._runs[index])
                record.status, record.reason = "failed", printable(str(error))
                self._keep(number, index, record, b"", unfinished=True)
        self._waiting[:0] = again

    def _saved(self, task: Task) -> dict[int, bytes] | None:
        """What each run of a task can go on from; None where there is no store, and nothing is to be saved."""
        if self._store is None:
            return None
        found = {index: self._store.checkpoint(self._plan.identity(self._runs[index])) for index in task.runs}
        return {index: state for index, state in found.items() if state}

    def _save(self, saved: Saved) -> None:
        """Keep what a run can go on from. A disk without room for it need not have an end: the run trains on."""
        if self._store is not None and saved.index not in self.records:
            with suppress(DiskFullError), uninterrupted():
                self._store.save(self._plan.identity(self._runs[saved.index]), saved.state)

    def _keep(self, number: int, index: int, record: Record, file: bytes, *, unfinished: bool = False) -> None:
        if index in self.records:
            return
        if self._store is not None:
            with uninterrupted():
                self._store.put(record, file)
                if not unfinished:  # ended from outside: tried anew, it goes on from its checkpoint
                    self._store.forget(record.id)
        elif index == self._baselines.get(record.seed):
            self._files[record.seed] = file
        self.records[index] = record
        self._pace.finish(number, record.status == "failed")

    def _settled(self, seed: int) -> bool:
        """Whether the baseline of a seed is done, with or without a model."""
        return seed not in self._baselines or self._baselines[seed] in self.records

    def _file(self, seed: int) -> bytes:
        """The model file of the baseline of a seed; empty where there is none."""
        record = self.records.get(self._baselines.get(seed, -1))
        if record is None or record.status != "ok":
            return b""
        return self._store.model(record) if self._store is not None else self._files.get(seed, b"")

    def _name(self, task: Task) -> str:
        first = self._runs[task.runs[0]]
        arms = list(dict.fromkeys(self._runs[index].arm.name for index in task.runs))
        if len(task.runs) == 1:
            return str(first)
        more = f" and {len(arms) - 1} like it" if len(arms) > 1 else ""
        return f"{arms[0]}{more} · {len(task.runs)} runs · {first.condition} labels"
