"""Run a study: do what is not done yet, keep each run as it finishes, and compare."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import torch
from torch import nn

from .. import checkpoint
from ..plugins import Catalogue, discover
from ..resolve import Buildable
from .comparison import Comparison
from .execute import execute
from .plan import BASELINE, Plan
from .planning import ArmLike, DataLike, make_plan
from .record import Record
from .store import Store, write_whole

SMALL_MODEL = 1_000_000  # parameters; below it one thread is as fast as many, and bitwise reproducible anywhere

REDRAW = 0.2  # seconds between two looks at a run's epochs


@dataclass(frozen=True)
class Progress:
    """Where a study stands: `part` of the run `running` is trained; `seconds_left` is None before the first epoch."""

    done: int
    total: int
    running: str
    seconds_left: float | None
    reused: int
    failed: int
    part: float = 0.0


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
    device: str = "cpu",
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
        device: a torch device.
        out: folder where finished runs are kept, and found again by the next call; None keeps them in memory.
        catalogue: what names mean; discovered by default.
        on_progress: called before each run, now and then within it, and at the end.
        **settings: fields of `Recipe` (`epochs=`, `learning_rate=` ...), `label_mode=`, `norm=`.

    Raises:
        UsageError: for anything that cannot be run, before anything is trained.
        DataError: for data that is missing or damaged.
        StoreError, DiskFullError: for a folder that cannot be used; finished runs stay safe.
    """
    plan = make_plan(
        arms,
        catalogue=catalogue or discover(),
        data=data,
        model=model,
        seeds=seeds,
        protocol=protocol,
        label_noise=label_noise,
        eps=eps,
        headline_eps=headline_eps,
        device=device,
        **settings,
    )
    return run_plan(plan, out=out, on_progress=on_progress)


def run_plan(
    plan: Plan, *, out: str | Path | None = None, on_progress: Callable[[Progress], None] | None = None
) -> Comparison:
    """Do the runs of a plan that are not in the store `out` yet, and compare all of them."""
    runs = list(plan.runs())
    records: list[Record] = []
    with Store(out) if out is not None else nullcontext() as store, _threads(plan):
        if store is not None:
            write_whole(store.folder / "study.json", json.dumps(plan.describe(), indent=2).encode())
        kept = {run: store.sound(plan.identity(run)) if store is not None else None for run in runs}
        pace = _Pace(len(runs), sum(not _usable(record) for record in kept.values()), on_progress)
        sibling: nn.Module | None = None
        for run in runs:
            first = run.arm.name == BASELINE and not run.condition.rate  # of its seed; the others are attacked with it
            record, model = kept[run], b""
            if first and store is not None and record is not None and record.model_sha256:
                model = store.model(record)
            if record is None or not _usable(record):
                pace.start(str(run), records)
                record, model = execute(plan, run, surrogate=None if first else sibling, on_epoch=pace.epoch)
                if store is not None:
                    store.put(record, model)
                pace.finish()
            if first:
                sibling = checkpoint.from_bytes(model, plan.model(run.seed)) if record.status == "ok" else None
            record.arm = run.arm.name  # a kept run may have been made under another label
            records.append(record)
        pace.start("", records)
    return Comparison(plan.describe(), [arm.name for arm in plan.arms], plan.measures(), records)


class _Pace:
    """How far the study is, and how long the rest will take at the pace so far."""

    def __init__(self, total: int, todo: int, on_progress: Callable[[Progress], None] | None) -> None:
        self.total, self.todo, self.on_progress = total, todo, on_progress
        self.spent = 0.0
        self.finished = 0
        self.told = 0.0

    def start(self, running: str, records: list[Record]) -> None:
        self.running, self.started, self.records = running, time.perf_counter(), records
        self.tell(0.0)

    def epoch(self, part: float) -> None:
        if time.perf_counter() - self.told > REDRAW:
            self.tell(part)

    def finish(self) -> None:
        self.spent += time.perf_counter() - self.started
        self.finished += 1

    def tell(self, part: float) -> None:
        self.told = time.perf_counter()
        if self.on_progress is None:
            return
        done, elapsed = self.finished + part, self.spent + self.told - self.started
        left = elapsed / done * (self.todo - done) if done else None
        failed = sum(record.status == "failed" for record in self.records)
        reused = self.total - self.todo
        self.on_progress(Progress(len(self.records), self.total, self.running, left, reused, failed, part))


def _usable(record: Record | None) -> bool:
    """Whether a kept run need not be done again: a failed one is tried anew, a diverged one is a result."""
    return record is not None and record.status != "failed"


@contextmanager
def _threads(plan: Plan) -> Iterator[None]:
    before = torch.get_num_threads()
    if plan.parameters() < SMALL_MODEL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
