"""Study and model files that were cut short, changed or replaced: never a traceback, never other numbers."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

from .nursery import Ended, Nursery
from .outcome import Outcome
from .small import State, command, state

REFUSED = 5
NEWER = 2  # the number of the injection that is no damage


def damaged_stores(nursery: Nursery, folder: Path, times: int) -> Outcome:
    """Damage the database of a study in so many ways: the command then refuses it or gives the same results.

    What is refused is salvaged: the runs that are sound are saved, the others done again, to the same results.
    """
    found = Outcome(5, "study.db cut short, with changed bytes, empty, newer, no database")
    codes: Counter[int] = Counter()
    nursery.run(command(folder / "whole"))
    whole = state(folder / "whole")
    content = (folder / "whole" / "study.db").read_bytes()
    for at in range(times):
        study = folder / f"study-{at}"
        shutil.copytree(folder / "whole", study)
        what = _damage_store(study / "study.db", content, at)
        ended = nursery.run(command(study))
        _look(found, f"{at}: {what}", ended, (0, REFUSED))
        if ended.code == 0:
            found.check(state(study).results == whole.results, f"{at}: {what}: other numbers, and nothing said")
        codes[ended.code] += 1
        if ended.code == REFUSED and at != NEWER:
            _salvage(nursery, study, whole, f"{at}: {what}", found)
        found.count += 1
        shutil.rmtree(study)
    found.numbers |= {"refused": codes[REFUSED], "same results": codes[0]}
    found.check(codes[REFUSED] == 1 + found.numbers["salvaged"], "not all that was refused was salvaged")
    return found


def _salvage(nursery: Nursery, study: Path, whole: State, where: str, found: Outcome) -> None:
    content = (study / "study.db").read_bytes()
    ended = nursery.run(["resume", str(study), "--salvage", "--engine", "serial", "--no-figures"])
    _look(found, f"{where}, salvaged", ended, (0,))
    after = state(study)
    found.check(after.results == whole.results, f"{where}: other results after the salvage")
    found.check(after.models == whole.models, f"{where}: other models after the salvage")
    aside = [path.read_bytes() for path in study.glob("study.db.damaged-1")]
    found.check(aside == [content], f"{where}: the damaged file was not kept: {ended.err[-600:]}")
    saved = sum(after.finished[name] == when for name, when in whole.finished.items())
    found.check(f"{saved} runs were saved" in ended.err, f"{where}: {saved} saved, it says {ended.err[-300:]}")
    found.add("salvaged", 1)
    kind = "cut" if "cut" in where else "with a flipped bit" if "bit" in where else "otherwise"
    found.add(f"runs in those {kind}", len(whole.finished))
    found.add(f"saved of those {kind}", saved)


def damaged_models(nursery: Nursery, folder: Path, times: int) -> Outcome:
    """Flip a bit of a model file, or cut it, so many times; its run is trained again to the same bytes."""
    found = Outcome(6, "model files with a flipped bit, or cut short")
    study = folder / "study"
    nursery.run(command(study))
    whole = state(study)
    names = sorted(whole.models)
    for at in range(times):
        draw = random.Random(f"model {at}")
        path = study / "models" / draw.choice(names)
        content = bytearray(path.read_bytes())
        if at % 2:
            del content[draw.randrange(len(content)) :]
        else:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        ended = nursery.run(command(study))
        after = state(study)
        _look(found, f"{at}: {path.name}", ended, (0,))
        found.check(after.models == whole.models, f"{at}: the damaged file was believed")
        found.check(after.results == whole.results, f"{at}: other results")
        again = {name for name in whole.finished if after.finished[name] != whole.finished[name]}
        found.check(again == {path.name.partition(".")[0]}, f"{at}: done again: {again}")
        whole = after
        found.count += 1
    return found


def _damage_store(path: Path, content: bytes, at: int) -> str:
    """Damage a database in the way of this number, and say how."""
    draw = random.Random(f"store {at}")
    if at == 0:
        path.write_bytes(b"")
        return "empty"
    if at == 1:
        path.write_bytes(b"no database " * 500)
        return "no database"
    if at == NEWER:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        return "a newer schema"
    changed = bytearray(content)
    if at % 2:
        size = 512 * draw.randrange(1, len(content) // 512)
        path.write_bytes(content[:size])
        return f"cut at {size} of {len(content)}"
    where = draw.randrange(len(content))
    changed[where] ^= 1 << draw.randrange(8)
    path.write_bytes(changed)
    return f"bit flipped in byte {where} of {len(content)}"


def _look(found: Outcome, where: str, ended: Ended, codes: tuple[int, ...]) -> None:
    found.check(ended.code in codes, f"{where}: exit {ended.code}: {ended.err[-300:]}")
    found.check("Traceback" not in ended.err, f"{where}: {ended.err[-300:]}")
