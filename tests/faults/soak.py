"""Thousands of tiny runs in one process: it does not grow, and leaves no file, thread or process behind."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .outcome import Outcome

A_STUDY = 40  # runs
MOST = 50.0  # MB that the process may grow by


def soak(folder: Path, runs: int) -> Outcome:
    """Do so many runs in a process of their own, in studies of 40, every other one on worker processes."""
    found = Outcome(17, "tiny runs in one process")
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    command = [sys.executable, "-m", "tests.faults.soak", str(runs), str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    if done.returncode:
        found.check(False, done.stderr[-500:])
        return found
    before, after, found.count = json.loads(done.stdout)
    grown = after["megabytes"] - before["megabytes"]
    found.numbers["MB grown"] = round(grown, 1)
    found.check(grown < MOST, f"grew by {grown:.0f} MB")
    for what in ("files", "threads", "children"):
        found.check(after[what] == before[what], f"{what}: {before[what]} before, {after[what]} after")
    return found


def held() -> dict[str, float]:
    """What this process holds: memory in MB, open files, threads and children."""
    gc.collect()
    own = Path("/proc/self")
    children = sum(len((task / "children").read_text().split()) for task in (own / "task").iterdir())
    pages = int((own / "statm").read_text().split()[1])
    files, threads = (len(os.listdir(own / name)) for name in ("fd", "task"))
    megabytes = pages * os.sysconf("SC_PAGESIZE") / 1e6
    return {"megabytes": megabytes, "files": files, "threads": threads, "children": children}


def main(runs: int, folder: str) -> None:
    """Do the runs, and print what was held before and after them and how many were finished."""
    import torch

    import robustreg as rr

    torch.set_num_threads(1)

    def study(number: int) -> int:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            seeds = range(number * A_STUDY // 2, (number + 1) * A_STUDY // 2)
            found = rr.compare(
                "l2:1e-3", data="digits:train=40,val=20,test=20", model="mlp:hidden=8", epochs=1, label_noise=[],
                measures="clean_accuracy", seeds=seeds, out=out, engine=("serial", "local:workers=2")[number % 2],
            )  # fmt: skip
        return sum(record.status == "ok" for record in found.records)

    for number in (0, 1, 2, 3):  # whatever is made once
        study(number)
    before, done = held(), 0
    for number in range(runs // A_STUDY):
        done += study(number + 4)
    print(json.dumps([before, held(), done]))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
