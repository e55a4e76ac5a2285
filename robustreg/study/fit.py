"""Train the runs of a task, in a stack or one by one; one by one, what they can go on from is saved now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from .. import states
from ..cohort import train_cohort
from ..errors import DataError
from ..session import Run, Session, StateError
from ..training import epochs
from .job import Job, blamed
from .plan import Plan

TELL = 0.1  # seconds between two notes of how far a training is
SAVE = 5.0  # seconds of training that a run may lose when it is cut off, but for those of its last epoch
SAVING = 20  # and it trains at least so many times as long as it takes to save its state

Note = Callable[[float], None]


@dataclass(frozen=True)
class Saved:
    """What the run at a position can go on from, see `states`: from an epoch's end, to be kept until the run is."""

    index: int
    state: bytes


def fit(plan: Plan, jobs: Sequence[Job], note: Note, saved: Mapping[int, bytes] | None) -> Iterator[Saved]:
    """Train the jobs, in a stack or one by one, and say now and then how far they are."""
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        if time.monotonic() - told > TELL or share == 1:
            told = time.monotonic()
            note(share)

    if plan.together and jobs:
        _train_together(plan, jobs, tell)
    else:
        for at, job in enumerate(jobs):
            with blamed(job):
                yield from _train_alone(plan, job, lambda share, at=at: tell((at + share) / len(jobs)), saved)  # type: ignore[misc]


def _train_together(plan: Plan, jobs: Sequence[Job], tell: Note) -> None:
    """Train all in a stack; if that fails, one by one, so that only the run that is to blame is lost.

    Networks that are stacked are small, and so is what is lost when they begin anew: their states are not saved.
    """

    def train(jobs: Sequence[Job], tell: Note) -> None:
        members, recipe = [job.member for job in jobs if job.member is not None], plan.recipe_of(jobs[0].run.condition)
        found = train_cohort(members, recipe=recipe, device=plan.device, together=True, on_epoch=tell)
        for job, run in zip(jobs, found, strict=True):
            job.trained = run

    if len(jobs) > 1:
        try:
            return train(jobs, tell)
        except (KeyboardInterrupt, DataError):
            raise
        except (Exception, SystemExit):
            pass  # said again by the run that it comes from
    for at, job in enumerate(jobs):
        with blamed(job):
            train([job], lambda share, at=at: tell((at + share) / len(jobs)))  # type: ignore[misc]


def _train_alone(plan: Plan, job: Job, tell: Note, saved: Mapping[int, bytes] | None) -> Iterator[Saved]:
    """Train one run, from its saved state if there is one, and yield its state now and then."""
    assert job.member is not None
    recipe, state, keeps = plan.recipe_of(job.run.condition), _state_of(job, saved), saved is not None
    shared: dict[str, Any] = {"seed": job.run.seed, "device": plan.device}
    parts = job.member.model, job.member.regularizers, job.member.splits, recipe
    due = Due()
    while job.trained is None:
        try:
            with closing(epochs(*parts, state=state, **shared)) as steps:
                for found in steps:
                    if isinstance(found, Run):
                        job.trained = found
                        return
                    tell(found.epoch / recipe.epochs)
                    if keeps and due():
                        file = _file_of(found, job)
                        keeps = bool(file)
                        if file:
                            yield Saved(job.index, file)
                        due.done()
        except StateError:  # with a right checksum, and yet not of this run: it is as if it were not there
            if state is None:
                raise
            state = None


class Due:
    """Says when the state of a run is to be saved: by the clock, so that short runs pay nothing."""

    def __init__(self) -> None:
        self._since, self._pause, self._asked = time.monotonic(), SAVE, 0.0

    def __call__(self) -> bool:
        """Return whether it is time."""
        self._asked = time.monotonic()
        return self._asked - self._since >= self._pause

    def done(self) -> None:
        """Take note that the state was saved, and of how long that has taken since it was due."""
        self._since = time.monotonic()
        self._pause = max(SAVE, SAVING * (self._since - self._asked))


def _state_of(job: Job, saved: Mapping[int, bytes] | None) -> dict[str, Any] | None:
    try:
        return states.from_bytes(saved[job.index], job.record.id) if saved and job.index in saved else None
    except DataError:
        return None


def _file_of(session: Session, job: Job) -> bytes:
    """The file of a run's state; empty where a plugin keeps what no file can hold: such a run cannot go on."""
    try:
        return states.to_bytes(session.to_go_on(), job.record.id)
    except DataError:
        return b""
