"""SIGKILL of a worker of an engine: only what it had under way is done again, to the same bytes."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import robustreg as rr
from robustreg.plugins import discover
from robustreg.report import write_report
from robustreg.study import Progress, make_plan, run_plan
from robustreg.study.execute import execute
from robustreg.study.plan import Plan, PlannedRun

from .outcome import Outcome
from .small import State, state

SMALL: dict[str, Any] = {"data": "digits:train=40,val=20,test=20", "epochs": 3, "model": "mlp:hidden=8",
                         "label_noise": [0.5], "eps": [0.1], "headline_eps": 0.1, "seeds": 2,
                         "measures": ["clean_accuracy", "robust_accuracy"]}  # fmt: skip


class Trace(rr.Regularizer):
    """Writes a line into a file at the end of each epoch, and kills its process if that is the line to be killed at.

    Lines are counted by the file's size, so that a moment means the same whichever worker gets there.
    """

    name = "trace"
    file, last = "", 0

    @rr.hookimpl
    def after_epoch(self) -> None:
        said("epoch")


def said(what: str) -> None:
    """Append a line to the trace, and die if it is the last."""
    with open(Trace.file, "ab", buffering=0) as file:
        file.write(f"{os.getpid():08} {what:>20.20}\n".encode())
        if file.tell() == Trace.last * 30:
            os.kill(os.getpid(), signal.SIGKILL)


def traced(
    plan: Plan, runs: Sequence[PlannedRun], note: Any, which: Sequence[int], *given: Mapping[int, bytes] | None
) -> Iterator[Any]:
    """Do a task as a study does, and say what begins and what is given away."""
    for index in which:
        said(f"begin {index}")
    for found in REAL(plan, runs, note, which, *given):
        yield found
        if isinstance(found, tuple):  # and no state of one that is still trained
            said(f"given {found[0]}")


REAL = execute
RUNS = 3 * 2 * 2
BEGUN = {f"begin {index}" for index in range(RUNS)}


def worker_kills(folder: Path, kills: int, *, engine: str = "local:workers=2") -> Outcome:
    """Kill a worker so many times, each in a study of its own, at a moment that its number decides."""
    found = Outcome(2, f"SIGKILL of a worker of the engine {engine.partition(':')[0]}")
    calm, lines = study(folder / "calm", 0, "serial")  # which also makes what is made at the first use
    found.check(len(calm.finished) == len(calm.models) == RUNS, "the undisturbed study is not whole")
    again, before = 0, _children()
    for kill in range(kills):
        last = random.Random(f"worker {kill}").randint(1, len(lines))
        after, trace = study(folder / str(kill), last, engine)
        where = f"kill {kill} at line {last}"
        twice = done_again(trace)
        found.check(twice <= _under_way(trace[:last]), f"{where}: done again: {sorted(twice)}")
        found.check({what for _, what in trace if "begin" in what} == BEGUN, f"{where}: not every run was begun")
        found.check(after.finished.keys() == calm.finished.keys(), f"{where}: other runs than undisturbed")
        found.check(after.models == calm.models, f"{where}: model files differ")
        found.check(after.results == calm.results, f"{where}: results.json differs")
        found.check(not after.partial and _children() == before, f"{where}: left {after.partial} or workers")
        again += len(twice)
        found.count += 1
    found.numbers["runs done again"] = again
    return found


def study(
    folder: Path, last: int, engine: str, on_progress: Callable[[Progress], None] | None = None
) -> tuple[State, list[tuple[str, str]]]:
    """Do the study, with a kill at a line of its trace if it has so many.

    Return what is on disk, and the lines of the trace as process and what it did.
    """
    folder.mkdir()
    Trace.file, Trace.last = str(folder / "trace"), last
    plan = make_plan(["none", Trace(1.0), Trace(2.0)], catalogue=discover(), **SMALL)
    with mock.patch("robustreg.study.coordinator.execute", traced):
        comparison = run_plan(plan, engine=engine, out=folder, on_progress=on_progress)
    write_report(comparison, folder, figures=False)
    lines = Path(Trace.file).read_text().splitlines()
    return state(folder), [(line.split()[0], " ".join(line.split()[1:])) for line in lines]


def _under_way(trace: list[tuple[str, str]]) -> set[str]:
    """What the process of the last line had begun and, as far as another can know, not given away."""
    mine = [what for pid, what in trace if pid == trace[-1][0]]
    given = {what.replace("given", "begin") for what in mine[:-1] if "given" in what}
    return {what for what in mine if "begin" in what} - given


def done_again(trace: list[tuple[str, str]]) -> set[str]:
    """What was begun more than once."""
    return {what for what, times in Counter(what for _, what in trace if "begin" in what).items() if times > 1}


def _children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().strip()
