"""`python -m benchmarks [NAME ...] [--quick] [--out FOLDER]`: run the benchmarks, write results.md and results.json."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import attacks, engines, gpu, hooks, limits, machine, scaling, study, training, tutorial
from .table import Table, write

BENCHMARKS: Mapping[str, Callable[..., Table]] = {
    "tutorial": tutorial.run,
    "training": training.run,
    "study": study.run,
    "attacks": attacks.run,
    "scaling": scaling.run,
    "limits": limits.run,
    "hooks": hooks.run,
    "engines": engines.run,
    "gpu": gpu.run,
}
QUICK: Mapping[str, Mapping[str, Any]] = {
    "tutorial": {"counts": (100,), "rounds": 1, "taught_epochs": 3},
    "training": {"models": ("mlp 32", "mlp 128"), "counts": (1, 64), "rounds": 1},
    "study": {"rounds": 1, "epochs": 4},
    "attacks": {"victims": ("weak mlp", "robust mlp"), "attacks": ("FGSM curve", "PGD-40", "APGD-100"), "rounds": 2},
    "scaling": {"axes": {"seeds": (1, 4)}, "base": {**scaling.BASE, "epochs": 4}},
    "limits": {"models": ("mlp 32",), "rounds": 1},
    "hooks": {"rounds": 5},
    "engines": {"engines": ("serial", "local:workers=2"), "rounds": 2},
    "gpu": {"models": ("mlp 64",), "rounds": 1},
}


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Run the benchmarks that are named, or all, one after the other, and write what they found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller and rougher")
    parser.add_argument("--out", type=Path, help="folder for results.md and results.json; default: this package's")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {min(unknown)!r}; there are {', '.join(BENCHMARKS)}")
    about, tables = machine.about(), []
    started = time.perf_counter()
    for name in asked.names or BENCHMARKS:
        began = time.perf_counter()
        tables.append(BENCHMARKS[name](**(QUICK[name] if asked.quick else {})))
        tables[-1].notes.append(f"Took {time.perf_counter() - began:.0f} s.")
        print(tables[-1].markdown(), flush=True)
    about["took"] = f"{time.perf_counter() - started:.0f} s{', --quick' if asked.quick else ''}"
    # A part of the benchmarks, or a rough look, does not overwrite the whole table unless a folder is named.
    folder = asked.out or (None if asked.names or asked.quick else Path(__file__).parent)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in write(folder, about, tables):
            print(f"wrote {path}")
    return tables


if __name__ == "__main__":
    main()
