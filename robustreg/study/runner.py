"""Run a study: do what is not done yet, keep each run as it finishes, and compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..engines import AUTO, LOCAL, SERIAL, check_engine, cores, engine_of, problem_of
from ..errors import UsageError
from ..plugins import Catalogue, discover
from ..resolve import Buildable
from .comparison import Comparison
from .coordinator import Coordinator
from .folder import NAME
from .pace import Pace, Progress
from .plan import SMALL_MODEL, Plan, PlannedRun
from .planning import ArmLike, DataLike, make_plan
from .record import Record
from .request import study_file
from .store import Store, on_disk, write_whole
from .tasks import tasks_of


def compare(
    arms: Iterable[ArmLike] = (),
    *,
    data: DataLike = "digits",
    model: Buildable = "mlp",
    seeds: int | Iterable[int] | None = None,
    protocol: str = "quick",
    label_noise: Iterable[float] = (0.0, 1.0),
    eps: Iterable[float] | None = None,
    headline_eps: float | None = None,
    measures: Iterable[str] | None = None,
    device: str = "cpu",
    engine: str = AUTO,
    run_seconds: float = 0.0,
    out: str | Path | None = None,
    catalogue: Catalogue | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Comparison:
    """Train every arm over seeds and label conditions, measure, and compare with the baseline.

    Args:
        arms: specs (`"l1:1e-3+dropout:0.5"`), regularizer instances or lists of them; the default arms when empty.
            `none` is always there.
        data: `"digits"`, `"folder:PATH"` or another name, a `Dataset`, or a function from seed to `Splits`.
        model: a name, `"package.module:callable"`, a callable, or a network.
        seeds: how many (0, 1, ...) or which; by default as many as the protocol says.
        protocol: "quick", "standard" or "paper".
        label_noise: shares of training labels drawn anew; 0, the true labels, is always there.
        eps: the attack sizes in pixel units; by default the grid of the data set.
        headline_eps: the size at which robustness is judged.
        measures: names of the only measures to take; by default all there are. Models are attacked, and trust flags
            raised, only where one of them is about attacks.
        device: a torch device.
        engine: "serial" (in this process), "local" or "local:workers=4" (on several processes of this machine), the
            name of one that a plugin offers, or "auto": local where that pays. Below a million parameters the numbers
            are the same on every engine.
        run_seconds: the longest that a run may take, 0 for ever; one that takes longer has failed. Heeded by engines
            that can end a run, so that "auto" is local where there is such a limit; "serial" cannot.
        out: folder where finished runs are kept, and found again by the next call; None keeps them in memory.
        catalogue: what names mean; discovered by default.
        on_progress: called when something begins or is finished, now and then within it, and at the end.
        **settings: fields of `Recipe` (`epochs=`, `learning_rate=` ...), `label_mode=`, `norm=`.

    Raises:
        UsageError: for anything that cannot be run, before anything is trained.
        DataError: for data that is missing or damaged.
        StoreError, DiskFullError: for a folder that cannot be used; finished runs stay safe.
    """
    catalogue = catalogue or discover()
    check_engine(engine, catalogue)
    plan = make_plan(
        arms,
        catalogue=catalogue,
        data=data,
        model=model,
        seeds=seeds,
        protocol=protocol,
        label_noise=label_noise,
        eps=eps,
        headline_eps=headline_eps,
        measures=measures,
        device=device,
        **settings,
    )
    say = settings.get("say")
    return run_plan(plan, engine=engine, run_seconds=run_seconds, out=out, on_progress=on_progress, say=say)


def run_plan(
    plan: Plan,
    *,
    engine: str = AUTO,
    out: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
    run_seconds: float = 0.0,
    take_over: bool = False,
) -> Comparison:
    """Do the runs of a plan that are not in the store `out` yet, and compare all of them.

    Args:
        plan: the study.
        engine: see `compare`.
        out: see `compare`.
        on_progress: see `compare`.
        say: told why another engine than the one asked for is used.
        run_seconds: see `compare`.
        take_over: go on where a coordinator on another machine, which cannot be asked, holds the study.

    Raises:
        UsageError: for an engine or a number of seconds that there is not.
        DataError: for data that cannot be read.
        StoreError, DiskFullError: for a folder that cannot be used, or that another process works on.
    """
    _check_usable(engine, plan.catalogue)
    if not 0 <= run_seconds < math.inf:
        raise UsageError(f"run_seconds must be a number of seconds from 0 (for ever), got {run_seconds!r}")
    runs = list(plan.runs())
    with _coordinated(out, take_over) as store, threads_of(plan):
        identities = [plan.identity(run) for run in runs]
        if store is not None:
            with on_disk(store.folder):
                write_whole(store.folder / NAME, study_file(plan, runs, identities, run_seconds=run_seconds).to_bytes())
        first = {identity: index for index, identity in reversed(list(enumerate(identities)))}
        kept = {index: record for identity, index in first.items() if (record := _kept(store, identity)) is not None}
        todo = [index for index in sorted(first.values()) if index not in kept]
        pace = Pace(len(first), len(todo), on_progress)
        coordinator = Coordinator(plan, runs, kept, store, pace, seconds=run_seconds)
        if todo:
            chosen = _chosen(engine, plan, runs, todo, run_seconds, say)
            coordinator.do(todo, engine_of(chosen, plan.catalogue)[1])
        pace.tell()
    found = (coordinator.records[first[identity]] for identity in identities)
    # A run that is kept, or that another arm shares, may have been made under another label.
    records = [replace(record, arm=run.arm.name) for record, run in zip(found, runs, strict=True)]
    return Comparison(plan.describe(), [arm.name for arm in plan.arms], plan.measures(), records)


def _kept(store: Store | None, identity: str) -> Record | None:
    """A run that need not be done again: a failed one is tried anew, a diverged one is a result."""
    record = store.sound(identity) if store is not None else None
    return None if record is None or record.status == "failed" else record


def _check_usable(engine: str, catalogue: Catalogue) -> None:
    """Raise a UsageError for an engine that there is not, or one of a plugin that cannot be used: who asks for a
    cluster is not given this process."""
    if engine == AUTO:
        return
    source, _ = engine_of(engine, catalogue)
    if source not in (SERIAL, LOCAL) and (problem := problem_of(source)):
        raise UsageError(f"engine {source.name} cannot be used: {problem}")


def _chosen(
    engine: str,
    plan: Plan,
    runs: Sequence[PlannedRun],
    todo: Sequence[int],
    run_seconds: float,
    say: Callable[[str], None] | None,
) -> str:
    """The engine to use: what was asked for, where it can be; `auto` is local where there is enough to share out, and
    where a run may have to be ended."""
    tell = say or (lambda message: None)
    if engine == AUTO:
        can = torch.device(plan.device).type == "cpu" and not LOCAL.problem()
        pays = can and plan.parameters() < SMALL_MODEL and cores() > 1
        pays = pays and len(tasks_of(plan, runs, todo, cores())) > 1
        engine = LOCAL.name if pays or (can and run_seconds) else SERIAL.name
    source, _ = engine_of(engine, plan.catalogue)
    if problem := problem_of(source):
        tell(f"Engine {source.name} cannot be used: {problem}. Running on {SERIAL.name}.")
        engine = SERIAL.name
    if run_seconds and engine == SERIAL.name:
        tell(f"The limit of {run_seconds:g} s a run is not heeded: engine {SERIAL.name} cannot end a run.")
    return engine


@contextmanager
def _coordinated(out: str | Path | None, take_over: bool) -> Iterator[Store | None]:
    """The store in a folder, with nobody else at work on it; None for no folder."""
    if out is None:
        yield None
        return
    with Store(out) as store, store.coordinated(take_over=take_over):
        yield store


@contextmanager
def threads_of(plan: Plan) -> Iterator[None]:
    """Let torch use one thread for a small model, which is as fast, and bitwise reproducible."""
    before = torch.get_num_threads()
    if plan.parameters() < SMALL_MODEL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
