"""(g) What an engine costs: seconds until its first run, and milliseconds for each of many tiny ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from robustreg.engines import Engine, engine_of
from robustreg.errors import RobustregError
from robustreg.plugins import discover
from robustreg.study import make_plan
from robustreg.study.execute import execute
from robustreg.study.parcel import StudyWork

from .measure import threads
from .table import Table

ENGINES = ("serial", "local:workers=2", "ray:workers=2", "slurm:cluster=local,jobs=2")
ROUND = 5.0  # seconds that a round may take
TINY: dict[str, Any] = {"data": "digits:train=40,val=20,test=20", "epochs": 1, "model": "mlp:hidden=8",
                        "label_noise": [], "measures": ["clean_accuracy"], "seeds": 1}  # fmt: skip


@threads(1)
def run(*, engines: Sequence[str] = ENGINES, runs: int = 40, rounds: int = 5) -> Table:
    """Do one tiny run after the other on each engine, every run a task, and take off what the run itself takes.

    The engines take turns, each started once; `rounds` times `runs` runs, fewer where these would take more than
    `ROUND` seconds, and the median round counts.
    """
    table = Table("engines", "(g) What an engine costs")
    plan = make_plan(["none"], catalogue=discover(), **TINY)
    work = StudyWork(execute, plan, list(plan.runs()))
    started: dict[str, Engine] = {}
    first: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    try:
        for text in engines:
            began = time.perf_counter()
            try:
                source, start = engine_of(text)
                if problem := source.problem():
                    table.notes.append(f"{source.name} cannot be used here: {problem}")
                    continue
                started[text] = start(work, lambda task, value: None)
            except RobustregError as error:
                table.notes.append(f"{text} was left out: {str(error).splitlines()[0]}")
                continue
            ready = time.perf_counter() - began
            _runs(started[text], 1)
            first[text] = [ready, time.perf_counter() - began - ready]
            counts[text] = max(1, min(runs, int(ROUND / _runs(started[text], 1))))
        seconds: dict[str, list[float]] = {text: [] for text in started}
        for index in range(rounds):
            for text in list(started) if index % 2 == 0 else list(started)[::-1]:
                seconds[text].append(_runs(started[text], counts[text]) / counts[text])
    finally:
        for engine in started.values():
            engine.close()
    alone = median(seconds.get("serial", [0.0]))
    for text, taken in seconds.items():
        table.add(
            engine=text,
            start_seconds=first[text][0],
            first_run_seconds=first[text][1],
            ms_a_run=1e3 * median(taken),
            ms_over_serial=1e3 * (median(taken) - alone) if text != "serial" else None,
        )
    table.notes += [
        f"A run: {TINY['model']} on 40 images, 1 epoch, clean accuracy; every run a task of its own, one under way at a"
        " time, so that nothing is gained by several workers. A study puts up to 64 runs into a task.",
        "Start: until the engine takes tasks. First run: what a new worker process costs, with its imports of torch.",
    ]
    return table


def _runs(engine: Engine, count: int) -> float:
    """Do so many runs, one after the other, and return the seconds they took."""
    began = time.perf_counter()
    for _ in range(count):
        engine.submit([0], {})
        while not (event := engine.wait()).over:
            pass
        if event.error is not None:
            raise event.error
    return time.perf_counter() - began
