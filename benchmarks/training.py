"""(b) Many trainings against the best plain loop, one run after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

import robustreg as rr
from robustreg.cohort import train_many
from robustreg.models import cnn, mlp
from robustreg.training import Run

from . import plain
from .measure import Spread, alternate, best_threads, default_threads, ratios, threads, timed
from .table import Table

SHAPE, CLASSES = (1, 8, 8), 10
WIDTHS = {"mlp 32": 32, "mlp 64": 64, "mlp 128": 128, "mlp 256": 256}
TARGETS = {("mlp 32", 64): 8.0, ("mlp 64", 64): 6.0, ("mlp 128", 64): 3.0}
FLOOR = 0.95  # nowhere may ours be slower than this
EPOCHS = {"mlp 32": 20, "mlp 64": 20, "mlp 128": 20, "mlp 256": 10, "cnn": 5}


def build(name: str) -> Callable[[], nn.Module]:
    """Return what makes a network: "mlp 64" has hidden layers of 64 and 32 units."""
    if name == "cnn":
        return partial(cnn, SHAPE, CLASSES)
    return partial(mlp, SHAPE, CLASSES, hidden=(WIDTHS[name], WIDTHS[name] // 2))


def digits(device: str = "cpu") -> tuple[Any, plain.Data]:
    """Return 1,000 training and 297 validation digits as splits, and as the plain loop wants them."""
    splits = rr.load_data("digits", seed=0)
    parts = [next(part.batches(None, len(part), device)) for part in (splits.train, splits.val)]
    return splits, plain.Data(*parts[0], *parts[1])


def run(
    *,
    models: Sequence[str] = (*WIDTHS, "cnn"),
    counts: Sequence[int] = (1, 10, 64),
    rounds: int = 3,
    epochs: Mapping[str, int] = EPOCHS,
    processes: int | None = None,
) -> Table:
    """Time `train_many` for so many seeds, on as many processes as there are cores, against as many plain runs."""
    table = Table("training", "(b) Many seeds against the best plain loop")
    processes = processes or default_threads()
    for name in models:
        best, notes = plain_threads(name, epochs[name])
        table.notes.append(notes)
        for count in counts:
            _compare(table, name, count, best, rounds, epochs[name], processes)
    shown = ", ".join(f"{name} {epochs[name]}" for name in models)
    table.notes += [
        "Digits, 1,000 images, batches of 50, SGD with momentum, training and validation accuracy every epoch on both"
        f" sides; the widths are those of the first hidden layer, the second has half. Epochs: {shown}.",
        "The plain side's runs follow one another, so 64 of them are timed as 4 and taken 16 times (10 as 5, twice).",
    ]
    return table


def many(name: str, count: int, epochs: int, splits: Any, processes: int = 1) -> list[Run]:
    """Train `count` seeds our way."""
    return train_many(build(name), [], splits, seeds=range(count), epochs=epochs, processes=processes)


def plain_threads(name: str, epochs: int, rounds: int = 5) -> tuple[int, str]:
    """Return on how many threads one plain run is fastest, and a sentence with the numbers."""
    _, data = digits()
    seconds: dict[int, list[float]] = {}
    for count in sorted({1, default_threads()}):
        with threads(count):
            side = partial(plain.train, build(name), data, seed=0, epochs=max(1, epochs // 4))
            side()
            seconds[count] = [timed(side) for _ in range(rounds)]
    best = best_threads(seconds)
    shown = ", ".join(f"{count}: {Spread.of(taken).median:.3g} s" for count, taken in seconds.items())
    return (
        best,
        f"Plain loop of {name} by threads ({max(1, epochs // 4)} epochs): {shown}; it gets the surely better one.",
    )


def _compare(table: Table, name: str, count: int, best: int, rounds: int, epochs: int, processes: int) -> None:
    splits, data = digits()
    some = {1: 1, 10: 5, 64: 4}.get(count, count)
    found: dict[str, list[float]] = {}

    def theirs() -> None:
        with threads(best):
            runs = [plain.train(build(name), data, seed=seed, epochs=epochs) for seed in range(some)]
        found["plain"] = [val for _, val in runs]

    def ours() -> None:
        with threads(best if count == 1 else 1):  # one run has the threads that are best for the plain one
            runs = many(name, count, epochs, splits, processes)
        found["ours"] = [run.history[-1]["val_accuracy"] for run in runs]

    repeats = rounds if count > 1 else 3 * rounds
    many(name, count, 1, splits, processes)
    seconds = alternate({"plain": theirs, "ours": ours}, rounds=repeats, warm=count < 64)
    means = {side: Spread.of(values) for side, values in found.items()}
    table.add(
        model=name,
        seeds=count,
        ratio=ratios(seconds["plain"], seconds["ours"], count / some),
        target=TARGETS.get((name, count), FLOOR),
        our_ms_a_run_epoch=1e3 * Spread.of(seconds["ours"]).median / count / epochs,
        plain_ms_a_run_epoch=1e3 * Spread.of(seconds["plain"]).median / some / epochs,
        our_processes=min(processes, count),
        our_accuracy=means["ours"].median,
        plain_accuracy=means["plain"].median,
        plain_threads=best,
    )
