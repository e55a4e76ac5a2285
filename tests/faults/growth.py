"""Studies of more and more runs: the time that one takes but for training grows no faster than its runs."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from robustreg.cli.main import run as robustreg
from robustreg.engines import SERIAL, Event, OnNote, Work
from robustreg.plugins import discover
from robustreg.report import write_report
from robustreg.study import Comparison, Plan, Progress, make_plan, run_plan
from robustreg.study.execute import blank

from .outcome import Outcome

SLACK = 2.0  # times what a line through the smallest size foretells; a square would be 3 or more between two sizes
ARMS = 10
MEASURES = ["clean_accuracy", "robust_accuracy", "fgsm_accuracy", "generalization_gap", "robust_curve"]


@dataclass
class Pretends:
    """An engine that gives away made-up runs at once, so that only the study itself takes time."""

    plan: Plan
    events: deque[Event] = field(default_factory=deque)
    count: int = 0

    def start(self, work: Work, on_note: OnNote) -> Pretends:
        """Return it as an engine."""
        return self

    def capacity(self) -> int:
        """As on a machine of a few cores."""
        return 8

    def submit(self, which: Sequence[int], *given: dict[int, bytes] | None, seconds: float = 0.0) -> int:
        """Make up the runs of a task."""
        self.count += 1
        for index in which:
            record = blank(self.plan, self.runs[index])
            share = 0.5 + 0.4 * (index * 7919 % 997) / 997
            curve = {f"{eps:g}": share - eps for eps in self.plan.eps}
            record.measures = dict.fromkeys(MEASURES[:-1], share) | {MEASURES[-1]: curve}
            record.history = [{"epoch": epoch, "train_loss": share, "val_accuracy": share} for epoch in range(3)]
            self.events.append(Event(self.count, (index, record, b"model")))
        self.events.append(Event(self.count, over=True))
        return self.count

    def __post_init__(self) -> None:
        self.runs = list(self.plan.runs())

    def wait(self) -> Event:
        """Return the next event."""
        return self.events.popleft()

    def close(self) -> None:
        """Nothing is left."""


def growth(folder: Path, sizes: Sequence[int], *, figures: bool = True) -> Outcome:
    """Take a study of each of these numbers of runs through all it goes through but the training."""
    found = Outcome(0, f"studies of {', '.join(f'{size:,}' for size in sizes)} runs")
    taken = {size: _study(folder / str(size), size, found, figures) for size in sizes}
    for stage in taken[sizes[0]]:
        seconds = [taken[size][stage] for size in sizes]
        for size, spent in zip(sizes, seconds, strict=True):
            found.numbers[f"{stage} {size:,}: ms a run"] = round(spent / size * 1000, 3)
        # By CPU time, and from the second size on, since the first also pays what any study costs.
        least = min(spent / size for size, spent in zip(sizes[:-1], seconds, strict=False))
        limit = SLACK * least * sizes[-1] + 1.0  # a second for what a busy machine does between
        found.check(seconds[-1] < limit, f"{stage}: {seconds[-1]:.2f} s for {sizes[-1]:,}, a line would be {limit:.2f}")
    found.count = len(sizes)
    return found


def _study(folder: Path, size: int, found: Outcome, figures: bool) -> dict[str, float]:
    taken: dict[str, float] = {}

    def stage(name: str, do: Callable[[], Any]) -> Any:
        began = sum(os.times()[:4])  # with that of worker processes, which draw the figures
        value = do()
        taken[name] = sum(os.times()[:4]) - began
        return value

    def planned() -> Plan:
        plan = make_plan(
            [f"l2:{1 / (1 + arm)}" for arm in range(ARMS - 1)], catalogue=discover(), seeds=size // ARMS,
            data="digits:train=40,val=20,test=20", model="mlp:hidden=8", epochs=1, label_noise=[],
            eps=[0.05, 0.1], headline_eps=0.1, measures=MEASURES,
        )  # fmt: skip
        for run in plan.runs():
            plan.identity(run)
        return plan

    plan = stage("plan", planned)
    engine = Pretends(plan)
    with mock.patch("robustreg.study.runner.engine_of", lambda *_: (SERIAL, engine.start)):
        kept: Comparison = stage("keep", partial(run_plan, plan, engine="serial", out=folder))
    seen: list[Progress] = []
    again: Comparison = stage("find again", partial(run_plan, plan, out=folder, on_progress=seen.append))
    found.check(len(kept.records) == size, f"{size}: {len(kept.records)} runs")
    found.check(seen[-1].reused == size, f"{size}: {seen[-1].reused} found again")
    found.check(vars(again)["records"] == kept.records, f"{size}: other records than were kept")
    stage("report", partial(write_report, again, folder, figures=False))
    if figures:
        stage("figures", partial(write_report, again, folder))
        found.check((folder / "figures" / "robust_curve.svg").stat().st_size > 1000, f"{size}: a figure is missing")
    for name, more in (("report", [] if figures else ["--no-figures"]), ("status", [])):
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code = stage(f"robustreg {name}", partial(robustreg, [name, str(folder), *more]))
        found.check(code == 0 and len(said.getvalue()) > ARMS * 2, f"{size}: {name}: exit {code}: {said.getvalue()}")
    document = stage("open results.json", lambda: json.loads((folder / "results.json").read_text()))
    found.check(sum(len(arm["runs"]) for arm in document["arms"]) == size, f"{size}: the report is too short")
    shutil.rmtree(folder)
    return taken
