"""Ctrl-C and SIGTERM, once and twice: the command ends soon and as it says, and what was finished is found again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .kills import ENGINES
from .nursery import ROOT, Ended, Nursery
from .outcome import Outcome
from .small import State, command, state

INTERRUPTED = 130
SOON = 2.0  # seconds
SIGNALS = (signal.SIGINT, signal.SIGTERM)
BUSY = """
import time, torch
import robustreg.study.execute as execute

def busy(real):
    def work(*given, **how):
        {body}
        return real(*given, **how)
    return work

execute.{where} = busy(execute.{where})
"""
WHERE = {"training": "fit", "measuring": "measure_all"}
BODIES = {
    "asleep": "time.sleep(60)",
    "in one operation of many seconds": "x = torch.ones(6000, 6000, dtype=torch.float64); x @ x",
    "in code that swallows what interrupts it": (
        "\n        while True:\n            try:\n                time.sleep(60)\n            except BaseException:\n"
        "                pass\n"
    ),
}


def interrupts(nursery: Nursery, folder: Path, times: int, busy: int = 12) -> Outcome:
    """Interrupt a study at so many moments, and so many more while it is busy, and start it again."""
    found = Outcome(3, "Ctrl-C and SIGTERM, once or twice")
    calm = {engine: nursery.run(command(folder / engine[:5], engine)) for engine in ENGINES}
    whole = state(folder / "seria")
    for at in range(times):
        draw = random.Random(f"interrupt {at}")
        engine, twice, number = ENGINES[at % 2], at // 2 % 2, SIGNALS[at // 4 % 2]
        # Between the first run's begin and the study's end, whichever of them the clock meets.
        first = draw.uniform(0.1, 0.9) * calm[engine].seconds
        moments = [first, first + draw.uniform(0.005, 0.1)][: 1 + twice]
        where = f"{at} ({engine}, {number.name} {len(moments)} from {first:.3f} s)"
        sent = tuple((moment, number, True) for moment in moments)
        _interrupt(nursery, folder / f"study-{at}", engine, sent, "", whole, where, found)
    cases = [(engine, where, body) for engine in ENGINES for where in WHERE for body in BODIES]
    for at in range(busy):
        engine, place, body = cases[7 * at % len(cases)]  # so that few of them are of many kinds
        number, setup = SIGNALS[at % 2], BUSY.format(where=WHERE[place], body=BODIES[body])
        sent = ((calm[engine].seconds + 0.5, number, True),)
        where = f"{place} ({engine}, {number.name}), {body}"
        ended = _interrupt(nursery, folder / f"busy-{at}", engine, sent, setup, whole, where, found)
        found.check(ended.code == INTERRUPTED, f"{where}: exit {ended.code}")
    return found


def _interrupt(
    nursery: Nursery,
    folder: Path,
    engine: str,
    signals: tuple[tuple[float, int, bool], ...],
    setup: str,
    whole: State,
    where: str,
    found: Outcome,
) -> Ended:
    asked = [*command(folder, engine), "--json"]
    ended = nursery.run(asked, signals=signals, setup=setup)
    cut = ended.code == INTERRUPTED
    found.check(ended.code in (0, INTERRUPTED), f"{where}: exit {ended.code}: {ended.err[-400:]}")
    found.check("Traceback" not in ended.err, f"{where}: {ended.err[-400:]}")
    found.check(not cut or "To go on" in ended.err, f"{where}: it does not say how to go on: {ended.err[-300:]}")
    found.check(ended.orphans == 0, f"{where}: {ended.orphans} processes outlived it")
    found.check(is_one_document(ended.out), f"{where}: standard output is {ended.out[-200:]!r}")
    found.check(not cut or ended.after < SOON, f"{where}: it took {ended.after:.1f} s to end")
    before = state(folder)
    again = nursery.run(asked)
    after = state(folder)
    found.check(again.code == 0 and after.results == whole.results, f"{where}: other results when started again")
    found.check(before.finished.items() <= after.finished.items(), f"{where}: a finished run was done again")
    found.check(after.models == whole.models and not after.partial, f"{where}: other files")
    shutil.rmtree(folder, ignore_errors=True)
    found.count += 1
    if cut:
        found.add("ended with exit 130", 1)
        found.most("most seconds until then" if not setup else "most seconds, busy", ended.after)
    return ended


def interrupted_starts(folder: Path, times: int) -> Outcome:
    """Interrupt commands of their own from their begin on: while modules load, arms are planned, runs are done."""
    found = Outcome(3, "Ctrl-C and SIGTERM from the start of the process on")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it puts aside ignore it
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    for at in range(times):
        seconds, number = 3.0 * at / times, SIGNALS[at % 2]
        asked = [sys.executable, "-m", "robustreg", *command(folder / str(at), ENGINES[at // 2 % 2])]
        with subprocess.Popen(asked, env=environment, stdout=-1, stderr=-1, text=True) as process:
            while not _minds(process.pid, signal.SIGTERM):  # before, Python itself is at its start
                time.sleep(0.005)
            time.sleep(seconds)
            process.send_signal(number)
            began = time.monotonic()
            _, err = process.communicate()
            took = time.monotonic() - began
        where = f"{number.name} after {seconds:.2f} s"
        found.check(process.returncode in (0, INTERRUPTED), f"{where}: exit {process.returncode}: {err[-300:]}")
        found.check("Traceback" not in err and took < SOON, f"{where}: {took:.1f} s: {err[-300:]}")
        found.add("ended with exit 130", process.returncode == INTERRUPTED)
        found.most("most seconds until then", took)
        found.count += 1
    signal.signal(signal.SIGINT, before)
    return found


def _minds(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, or is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return True
    caught = [line.split()[1] for line in lines if line.startswith("SigCgt")]
    return not caught or bool(int(caught[0], 16) >> (number - 1) & 1)


def is_one_document(text: str) -> bool:
    """Whether a text is one JSON object and nothing else."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
