"""`python -m tests.faults [NAME ...]`: every injection in its full form; exit code 1 if anything did not hold."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from .crowd import crowds
from .damage import damaged_models, damaged_stores
from .disk import full_disk
from .growth import growth
from .interrupts import interrupted_starts, interrupts
from .kills import kills
from .nursery import Nursery
from .others import others
from .outcome import Outcome
from .plugins import bad_plugins, hanging_plugins
from .ray import node_removals, ray_kills
from .reports import reports
from .soak import soak
from .surroundings import locales, surroundings
from .workers import worker_kills

FULL: dict[str, Callable[[Nursery, Path], Outcome]] = {
    "kills": lambda nursery, folder: kills(nursery, folder, 200),
    "workers": lambda nursery, folder: worker_kills(folder, 50),
    "ray": lambda nursery, folder: ray_kills(folder, 50),
    "nodes": lambda nursery, folder: node_removals(folder, 5),
    "interrupts": lambda nursery, folder: interrupts(nursery, folder, 40),
    "starts": lambda nursery, folder: interrupted_starts(folder, 20),
    "crowds": lambda nursery, folder: crowds(nursery, folder, 20),
    "stores": lambda nursery, folder: damaged_stores(nursery, folder, 200),
    "models": lambda nursery, folder: damaged_models(nursery, folder, 200),
    "disk": lambda nursery, folder: full_disk(nursery, folder, 50),
    "plugins": bad_plugins,
    "hangs": hanging_plugins,
    "surroundings": surroundings,
    "locales": lambda nursery, folder: locales(folder),
    "soak": lambda nursery, folder: soak(folder, 2000),
    "reports": lambda nursery, folder: reports(folder),
    "others": others,
    "growth": lambda nursery, folder: growth(folder, (1000, 3000, 10_000)),
}


def main(names: list[str]) -> int:
    """Do the injections that are named, or all, and print what came of each."""
    if unknown := set(names) - set(FULL):
        print(f"there is no {min(unknown)!r}; there are {', '.join(FULL)}", file=sys.stderr)
        return 2
    wrong = 0
    with tempfile.TemporaryDirectory() as top, Nursery(Path(top)) as nursery:
        for name in names or FULL:
            folder = Path(top) / name
            folder.mkdir()
            found = FULL[name](nursery, folder)
            wrong += len(found.wrong)
            print(f"{name}: {found}", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
