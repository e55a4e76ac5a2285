"""What these faults do to others, beside what they do here: `python -m tests.faults others` prints the table."""

from __future__ import annotations

import importlib.metadata
import random
import shutil
from collections import Counter
from pathlib import Path

from robustreg.errors import StoreError
from robustreg.study.rebuild import rebuild

from .damage import REFUSED
from .disk import full_disk
from .kills import kills
from .nursery import Nursery
from .outcome import Outcome
from .small import RUNS, command, state
from .workers import worker_kills

NEEDS = ("optuna", "joblib")
ROWS = {
    "killed": "SIGKILL of the process that coordinates, 20 times, and start again",
    "worker": "SIGKILL of a worker, 10 times",
    "cut": "the last 1, 7, 60 bytes of the store cut off",
    "flipped": "one bit of the store flipped, 200 times",
    "disk": "no room for a file beyond some size, 20 times",
}


def others(nursery: Nursery, folder: Path, kills_: int = 20, workers: int = 10, flips: int = 200) -> Outcome:
    """Do the same to all, eight runs or trials each, and print a table; what robustreg does has to hold."""
    missing = [name for name in NEEDS if not _version(name)]
    if missing:
        print(f"not compared: {' and '.join(missing)} not installed (python -m pip install {' '.join(missing)})")
        return Outcome(0, "the same on others: not done")
    from . import optunas, pools

    found = Outcome(0, "the same on others")
    table: dict[str, dict[str, str]] = {row: {} for row in ROWS}
    table |= {row: {"robustreg": said} for row, said in _ours(nursery, folder, kills_, workers, flips, found).items()}
    for kind in optunas.KINDS:
        place = optunas.clear(folder / kind.replace(", ", "-").replace(" ", "-"))
        table["killed"][f"Optuna, {kind}"] = optunas.killed(kind, place, kills_)
        table["worker"][f"Optuna, {kind}"] = optunas.worker_killed(kind, place, workers)
        table["cut"][f"Optuna, {kind}"] = optunas.cut(kind, place)
        table["flipped"][f"Optuna, {kind}"] = optunas.flipped(kind, place, flips)
        table["disk"][f"Optuna, {kind}"] = optunas.full_disk(kind, place, kills_)
    for pool in pools.WAYS:
        table["killed"][pool] = pools.killed(pool, folder, max(1, kills_ // 4))
        table["worker"][pool] = pools.worker_killed(pool, folder, workers)
    found.count = sum(map(len, table.values()))
    print(", ".join(f"{name} {_version(name)}" for name in ("robustreg", *NEEDS, "SQLAlchemy")))
    for row, cells in table.items():
        print(f"\n{ROWS[row]}\n" + "\n".join(f"    {name}: {said}" for name, said in cells.items()), flush=True)
    return found


def _ours(nursery: Nursery, folder: Path, kills_: int, workers: int, flips: int, found: Outcome) -> dict[str, str]:
    said = {}
    outcomes = {}
    for name, do in {
        "killed": lambda place: kills(nursery, place, kills_),
        "worker": lambda place: worker_kills(place, workers),
        "disk": lambda place: full_disk(nursery, place, kills_),
    }.items():
        (folder / name).mkdir()
        outcomes[name] = do(folder / name)
        found.wrong += outcomes[name].wrong
    bad = {name: len(outcome.wrong) for name, outcome in outcomes.items()}
    said["killed"] = f"{bad['killed']} of {kills_} end with fewer than {RUNS} runs, other results, or a process left"
    again = outcomes["worker"].numbers["runs done again"]
    said["worker"] = f"{bad['worker']} of {workers} with a run missing; {again:g} runs done again in all"
    ended = outcomes["disk"].numbers["ended with exit 6"]
    said["disk"] = f"{ended:g} of {kills_} ended with exit code 6; with room again {bad['disk']} cannot go on"
    whole = folder / "ours"
    nursery.run(command(whole))
    said["cut"] = _cut(nursery, whole, folder / "cut", found)
    said["flipped"] = _flipped(whole, folder / "flipped", flips, found)
    return said


def _cut(nursery: Nursery, whole: Path, study: Path, found: Outcome) -> str:
    results, said = state(whole).results, []
    for size in (1, 7, 60):
        shutil.copytree(whole, study)
        (study / "study.db").write_bytes((whole / "study.db").read_bytes()[:-size])
        refused = nursery.run(command(study)).code == REFUSED
        ended = nursery.run(["resume", str(study), "--salvage", "--no-figures"])
        found.check(ended.code == 0 and state(study).results == results, f"cut by {size}: {ended.err[-300:]}")
        saved = sum(state(whole).finished[name] == when for name, when in state(study).finished.items())
        said.append(f"{size}: {'refused, ' if refused else ''}{saved} of {RUNS} saved, goes on")
        shutil.rmtree(study)
    return "; ".join(said)


def _flipped(whole: Path, study: Path, flips: int, found: Outcome) -> str:
    """Flip bits as is done to the others, and compare the numbers that a report would show."""
    content, codes = (whole / "study.db").read_bytes(), Counter[str]()
    records = {record.id: record.to_json() for record in rebuild(whole).records}
    for at in range(flips):
        draw = random.Random(f"flip {at}")
        changed = bytearray(content)
        changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        study.mkdir(exist_ok=True)
        shutil.copy(whole / "study.json", study)
        (study / "study.db").write_bytes(changed)
        try:
            told = {record.id: record.to_json() for record in rebuild(study).records}
        except StoreError:
            codes["refused"] += 1
            continue
        silent = any(records[name] != text for name, text in told.items())
        codes["other numbers, silently" if silent else "same" if len(told) == RUNS else "left out, and said"] += 1
    found.check(not codes["other numbers, silently"], f"flipped bits: {codes}")
    kinds = ("same", "left out, and said", "refused", "other numbers, silently")
    return ", ".join(f"{codes[kind]} {kind}" for kind in kinds)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
