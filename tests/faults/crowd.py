"""Several `compare` and `resume` on one study at once, and others who look at it."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from pathlib import Path

from .kills import ENGINES
from .nursery import Nursery
from .outcome import Outcome
from .small import command, state

HELD = 5
SIZES = (2, 4, 8)
READERS = 3
SETUP = """
from robustreg.study.store import Store
real = Store.put

def put(self, record, *given, **how):
    with open({trace!r}, "ab", buffering=0) as file:
        file.write(record.id.encode() + b"\\n")
    return real(self, record, *given, **how)

Store.put = put
"""


def crowds(nursery: Nursery, folder: Path, rounds: int) -> Outcome:
    """Start 2, 4 and 8 coordinators of a study in which nothing is done, and readers, so many times."""
    found = Outcome(12, "2, 4 and 8 compare and resume on one study, and readers")
    nursery.run(command(folder / "whole"))
    whole = state(folder / "whole")
    for at in range(rounds):
        study, engine = folder / f"study-{at}", ENGINES[at % 2]
        _begun(folder / "whole", study)
        setup = SETUP.format(trace=str(folder / f"trace-{at}"))
        resume = ["resume", str(study), "--engine", engine, "--no-figures"]
        size = SIZES[at % len(SIZES)]
        writers = [resume if number % 2 else command(study, engine) for number in range(size)]
        readers = [["status", str(study), "--json"]] * READERS + [["report", str(study), "--no-figures", "--out",
                                                                 str(folder / f"report-{at}")]]  # fmt: skip
        ended = nursery.together([*writers, *readers], setup)
        where = f"round {at}, {size} writers ({engine})"
        for each in ended:
            text = each.out + each.err
            found.check("Traceback" not in text and "locked" not in text, f"{where}: {text[-400:]}")
            found.check(not each.orphans, f"{where}: {each.orphans} processes outlived it")
        for each in ended[:size]:
            says = "is being worked on by process" in each.err if each.code == HELD else each.code == 0
            found.check(says, f"{where}: exit {each.code}: {each.err[-300:]}")
        for each in ended[size:]:
            found.check(each.code == 0, f"{where}: a reader: exit {each.code}: {each.err[-300:]}")
        kept = Counter((folder / f"trace-{at}").read_text().split())
        found.check(set(kept.values()) == {1}, f"{where}: runs done twice: {kept}")
        after = state(study)
        found.check(kept.keys() == after.finished.keys() == whole.finished.keys(), f"{where}: other runs")
        found.check(after.results == whole.results and after.models == whole.models, f"{where}: other results")
        found.check(not after.partial and after.sound == "ok", f"{where}: left {after.partial}")
        found.add("commands that were told who works on it", sum(each.code == HELD for each in ended[:size]))
        found.add("commands that did it or found it done", sum(each.code == 0 for each in ended[:size]))
        found.add("readers", READERS + 1)
        found.count += 1
        shutil.rmtree(study)
    return found


def _begun(whole: Path, study: Path) -> None:
    """A study that is planned, and of which nothing is done."""
    (study / "models").mkdir(parents=True)
    for name in ("study.json", "study.db"):
        shutil.copy(whole / name, study)
    with sqlite3.connect(study / "study.db") as db:
        db.execute("DELETE FROM runs")
    db.close()
