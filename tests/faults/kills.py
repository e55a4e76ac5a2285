"""SIGKILL of a whole `compare`, anywhere: the same command again ends as if nothing had been."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

from .nursery import Ended, Nursery
from .outcome import Outcome
from .small import RUNS, State, command, state

ENGINES = ("serial", "local:workers=2")


def kills(nursery: Nursery, folder: Path, points: int) -> Outcome:
    """Kill a study at so many points, each of which its number decides, and start it again.

    Three of four points are calls where a study is written, of the coordinator, engines, store and report: before and
    after each call of SQLite, fsync and rename, too. Every fourth is a moment.
    """
    found = Outcome(1, "SIGKILL of compare, then the same command again")
    calm = {engine: nursery.run(command(folder / engine[:5], engine), count=True) for engine in ENGINES}
    whole = state(folder / "seria")
    for engine, ended in calm.items():
        found.check(ended.code == 0, f"{engine}: exit {ended.code} undisturbed: {ended.err[-300:]}")
    found.check(len(whole.finished) == len(whole.models) == RUNS, "the undisturbed study is not whole")
    found.check(state(folder / "local").results == whole.results, "local is not serial")
    cut = 0
    for point in range(points):
        cut += _kill(nursery, folder / f"study-{point}", point, calm, whole, found)
        found.count += 1
    found.numbers["cut off before the end"] = cut
    return found


def _kill(nursery: Nursery, folder: Path, point: int, calm: dict[str, Ended], whole: State, found: Outcome) -> bool:
    draw = random.Random(f"kill {point}")
    engine = ENGINES[point % 2]
    asked = command(folder, engine)
    if point // 2 % 4 < 3:
        call = draw.randint(1, calm[engine].calls)
        where = f"point {point} ({engine}, call {call} of {calm[engine].calls})"
        ended = nursery.run(asked, call=call)
    else:
        # The clock only chooses the moment: whatever it is, the same must hold.
        seconds, group = draw.random() * calm[engine].seconds, draw.random() < 0.5
        where = f"point {point} ({engine}, {'group' if group else 'process'} after {seconds:.3f} s)"
        ended = nursery.run(asked, signals=((seconds, signal.SIGKILL, group),))
    found.check(ended.orphans == 0, f"{where}: {ended.orphans} processes outlived it")
    before = state(folder)
    found.check(before.sound == "ok", f"{where}: SQLite says {before.sound}")
    kept = {f"{identity}.safetensors" for identity in before.finished}
    found.check(kept <= set(before.models), f"{where}: a row without its model")
    again = nursery.run(asked)
    after = state(folder)
    found.check(again.code == 0, f"{where}: exit {again.code} when started again: {again.err[-300:]}")
    found.check(again.orphans == 0, f"{where}: {again.orphans} processes outlived the second")
    found.check(set(after.finished) == set(whole.finished), f"{where}: other runs than undisturbed")
    found.check(before.finished.items() <= after.finished.items(), f"{where}: a finished run was done again")
    found.check(after.results == whole.results, f"{where}: results.json differs")
    found.check(after.models == whole.models, f"{where}: model files differ")
    found.check(not after.partial, f"{where}: left {after.partial}")
    shutil.rmtree(folder, ignore_errors=True)
    return ended.code == -signal.SIGKILL
