"""(d) How a study's time and memory grow, one size at a time, each study in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from .measure import exponent
from .table import Table

BASE = {"seeds": 3, "images": 1000, "width": 64, "eps": 2, "epochs": 8}
AXES: dict[str, Sequence[int]] = {
    "seeds": (2, 6, 18),
    "images": (500, 1500, 4500),
    "width": (32, 128, 512),
    "eps": (1, 4, 16),
}
NAMES = {"seeds": "runs", "images": "training images", "width": "parameters", "eps": "eps values"}


def run(*, axes: Mapping[str, Sequence[int]] = AXES, base: Mapping[str, int] = BASE, rounds: int = 1) -> Table:
    """Run small studies of growing size, in turns, and fit the power with which time grows along each axis."""
    table = Table("scaling", "(d) How a study scales")
    for axis, sizes in axes.items():
        answers: list[list[dict[str, float]]] = [[] for _ in sizes]
        for index in range(rounds):
            for at in range(len(sizes)) if index % 2 == 0 else reversed(range(len(sizes))):
                answers[at].append(in_a_process({**base, axis: sizes[at]}))
        grown = [readings[0][NAMES[axis]] for readings in answers]
        seconds = [median(reading["seconds"] for reading in readings) for readings in answers]
        for at, size in enumerate(grown):
            table.add(
                axis=NAMES[axis],
                size=int(size),
                study_seconds=seconds[at],
                peak_MB=median(reading["peak_MB"] for reading in answers[at]),
                exponent_fitted=exponent(grown, seconds) if at == 0 else None,
                exponent_of_the_last_step=exponent(grown[-2:], seconds[-2:]) if at == len(grown) - 1 else None,
            )
    arms = "none, l1 and dropout"
    table.notes += [
        f"Studies of the arms {arms} on random 8x8 images in 10 classes, true labels, quick protocol, mlp; when not"
        f" varied: {', '.join(f'{size} {name}' for name, size in base.items())}.",
        "Peak memory is that of the whole process, torch included (a process that only imports it is listed first)."
        " Time is that of `compare`, without imports.",
    ]
    empty = in_a_process({**base, "seeds": 0})
    table.rows.insert(0, {"axis": "imports alone", "peak_MB": empty["peak_MB"]})
    return table


def in_a_process(sizes: Mapping[str, int]) -> dict[str, float]:
    """Run one study in a new process and return its seconds, sizes and peak memory."""
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, json.dumps(dict(sizes))]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def study(sizes: Mapping[str, int]) -> dict[str, float]:
    """Run one study here; with 0 seeds none, to see what imports take."""
    import torch

    import robustreg as rr
    from robustreg.data import Dataset, make_splits
    from robustreg.models import count_parameters, mlp

    rr.compare  # noqa: B018  # loads what a study needs
    build = partial(mlp, hidden=(sizes["width"], sizes["width"] // 2))
    images = sizes["images"]
    seconds = 0.0
    if sizes["seeds"]:
        draw = torch.Generator().manual_seed(0)
        x = torch.rand(images + 400, 1, 8, 8, generator=draw)
        y = torch.randint(10, (len(x),), generator=draw)
        data = Dataset("random", x, y, tuple("0123456789"), sizes=(images, 200, 200))
        load = partial(make_splits, data)
        settings: dict[str, Any] = {
            "data": lambda seed: load(seed=seed),
            "model": build,
            "label_noise": [],
            "eps": [0.2 * (k + 1) / sizes["eps"] for k in range(sizes["eps"])],
            "epochs": sizes["epochs"],
            "engine": "serial",  # one process, so that its memory is the study's
        }
        started = time.perf_counter()
        rr.compare(["l1", "dropout"], seeds=sizes["seeds"], **settings)
        seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "peak_MB": peak_memory(),
        "runs": 3 * sizes["seeds"],
        "training images": images,
        "parameters": count_parameters(build((1, 8, 8), 10)),
        "eps values": sizes["eps"],
    }


def peak_memory() -> float:
    """Return the largest memory this process has had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the process that started this one had
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    print(json.dumps(study(json.loads(sys.argv[1]))))
