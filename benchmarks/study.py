"""(b) The default study, training only: every default arm as a plain loop with its regularizer written plainly."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Any

import torch

from robustreg.cohort import train_many
from robustreg.plugins import discover
from robustreg.resolve import arms_of
from robustreg.study.planning import DEFAULT_ARMS

from . import plain
from .measure import Spread, alternate, ratios, threads
from .table import Table
from .training import FLOOR, build, digits

MODEL = "mlp 128"  # the study's default: 128-64


def run(
    *, seeds: int = 10, some: int = 2, rounds: int = 3, epochs: int = 10, arms: tuple[str, ...] = DEFAULT_ARMS
) -> Table:
    """Time all default arms with true labels, and with random ones on 300 images, against the plain loops."""
    table = Table("study", "(b) The default study, training only, against plain loops")
    splits, data = digits()
    chosen = {arm.name.partition(":")[0]: arm.regularizers for arm in arms_of(arms, discover([]))}
    labels = torch.randint(10, (300,), generator=torch.Generator().manual_seed(0))
    random_data = plain.Data(data.x[:300], labels, data.val_x, data.val_y)
    first = splits.train.subset(torch.arange(300)).with_labels(labels)
    conditions = {
        "true labels": (splits, data, epochs),
        "random labels": (replace(splits, train=first), random_data, 5 * epochs // 2),
    }
    totals: dict[str, list[list[float]]] = {"plain": [], "ours": []}
    for condition, (ours, theirs, length) in conditions.items():
        look = int(condition == "true labels")  # at the validation images; random labels can only be fitted
        for name, members in chosen.items():
            found: dict[str, list[float]] = {}
            with threads(1):
                sides = {
                    "plain": partial(_plain, found, theirs, plain.DEFAULTS[name], some, length, look),
                    "ours": partial(_ours, found, members, ours, seeds, length, look),
                }
                seconds = alternate(sides, rounds=rounds)
            totals["plain"].append([seeds / some * taken for taken in seconds["plain"]])
            totals["ours"].append(seconds["ours"])
            table.add(
                arm=name,
                labels=condition,
                ratio=ratios(seconds["plain"], seconds["ours"], seeds / some),
                target=FLOOR,
                our_ms_a_run_epoch=1e3 * Spread.of(seconds["ours"]).median / seeds / length,
                plain_ms_a_run_epoch=1e3 * Spread.of(seconds["plain"]).median / some / length,
                our_accuracy=mean(found["ours"]),
                plain_accuracy=mean(found["plain"]),
            )
    whole = {side: [sum(parts) for parts in zip(*rows, strict=True)] for side, rows in totals.items()}
    table.rows.insert(0, {"arm": "all", "labels": "both", "ratio": ratios(whole["plain"], whole["ours"])})
    table.notes.append(
        f"mlp 128-64, {seeds} seeds an arm; 1,000 images for {epochs} epochs with true labels, 300 for"
        f" {5 * epochs // 2} with random ones; one thread. The plain side is timed with {some} seeds and counted"
        f" {seeds / some:g} times. Accuracies are means on the validation images,"
        " with random labels on the training images; early stopping ends where each side's"
        " own curve says, so its work differs."
    )
    return table


def _plain(found: dict[str, list[float]], data: plain.Data, arm: plain.Arm, seeds: int, epochs: int, look: int) -> None:
    made = build(MODEL)
    found["plain"] = [plain.train_arm(made, data, arm, seed=seed, epochs=epochs)[look] for seed in range(seeds)]


def _ours(found: dict[str, list[float]], members: Any, splits: Any, seeds: int, epochs: int, look: int) -> None:
    runs = train_many(build(MODEL), members, splits, seeds=range(seeds), epochs=epochs)
    stops = members and members[0].name == "early_stopping"
    kept = [max(run.history, key=lambda row: row["val_accuracy"]) if stops else run.history[-1] for run in runs]
    found["ours"] = [row[("train_accuracy", "val_accuracy")[look]] for row in kept]
