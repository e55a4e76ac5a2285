"""A disk that is full: exit code 6, nothing half written, and the same results once there is room."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from .nursery import Nursery
from .outcome import Outcome
from .small import command, state

FULL = 6


def full_disk(nursery: Nursery, folder: Path, times: int) -> Outcome:
    """Let no file grow beyond a size, so many sizes, and start the study again without that limit."""
    found = Outcome(7, "no room for a file beyond some size")
    nursery.run(command(folder / "whole"))
    whole = state(folder / "whole")
    largest = max(path.stat().st_size for path in (folder / "whole").rglob("*") if path.is_file())
    refused = 0
    for at in range(times):
        size = random.Random(f"disk {at}").randint(4_000, largest)  # below, what it says of itself has no room either
        study = folder / f"study-{at}"
        ended = nursery.run(command(study), limit=size)
        before = state(study)
        where = f"{size} bytes a file"
        found.check(ended.code in (0, FULL), f"{where}: exit {ended.code}: {ended.err[-300:]}")
        found.check("Traceback" not in ended.err, f"{where}: {ended.err[-300:]}")
        found.check(not before.partial and before.sound == "ok", f"{where}: left {before.partial}")
        found.check(before.models.items() <= whole.models.items(), f"{where}: a model file is not whole")
        again = nursery.run(command(study))
        after = state(study)
        found.check(again.code == 0 and after.results == whole.results, f"{where}: other results afterwards")
        found.check(after.models == whole.models, f"{where}: other model files afterwards")
        refused += ended.code == FULL
        found.count += 1
        shutil.rmtree(study)
    found.numbers["ended with exit 6"] = refused
    return found
