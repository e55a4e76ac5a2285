"""Ctrl-C, once and twice: the command ends as it says, and what was finished is found again."""

from __future__ import annotations

import json
import random
import shutil
import signal
from pathlib import Path

from .kills import ENGINES
from .nursery import Nursery
from .outcome import Outcome
from .small import command, state

INTERRUPTED = 130


def interrupts(nursery: Nursery, folder: Path, times: int) -> Outcome:
    """Press Ctrl-C so many times in a study, every other time twice in a row, and start it again."""
    found = Outcome(3, "Ctrl-C, once or twice")
    ended_early = 0
    calm = {engine: nursery.run(command(folder / engine[:5], engine)) for engine in ENGINES}
    whole = state(folder / "seria")
    for at in range(times):
        draw = random.Random(f"interrupt {at}")
        engine, twice = ENGINES[at % 2], at // 2 % 2
        # Between the first run's begin and the study's end, whichever of them the clock meets.
        first = draw.uniform(0.1, 0.9) * calm[engine].seconds
        moments = [first, first + draw.uniform(0.005, 0.1)][: 1 + twice]
        asked = [*command(folder / f"study-{at}", engine), "--json"]
        ended = nursery.run(asked, signals=tuple((moment, signal.SIGINT, True) for moment in moments))
        where = f"{at} ({engine}, {len(moments)} from {first:.3f} s)"
        found.check(ended.code in (0, INTERRUPTED), f"{where}: exit {ended.code}: {ended.err[-400:]}")
        found.check("Traceback" not in ended.err, f"{where}: {ended.err[-400:]}")
        found.check(ended.orphans == 0, f"{where}: {ended.orphans} processes outlived it")
        found.check(is_one_document(ended.out), f"{where}: standard output is {ended.out[-200:]!r}")
        before = state(folder / f"study-{at}")
        again = nursery.run(asked)
        after = state(folder / f"study-{at}")
        found.check(again.code == 0 and after.results == whole.results, f"{where}: other results when started again")
        found.check(before.finished.items() <= after.finished.items(), f"{where}: a finished run was done again")
        found.check(after.models == whole.models and not after.partial, f"{where}: other files")
        ended_early += ended.code == INTERRUPTED
        found.count += 1
        shutil.rmtree(folder / f"study-{at}", ignore_errors=True)
    found.numbers["ended with exit 130"] = ended_early
    return found


def is_one_document(text: str) -> bool:
    """Whether a text is one JSON object and nothing else."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
