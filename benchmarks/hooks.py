"""(f) What a regularizer costs that does nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

import robustreg as rr
from robustreg.hookspecs import Loss, Predict, hookimpl
from robustreg.models import mlp
from robustreg.noise import Rng
from robustreg.regularizer import Regularizer

from .measure import alternate, ratios, threads
from .table import Table


class Idle(Regularizer):
    """Implements every training hook, takes every argument, and contributes nothing."""

    name = "idle"

    @hookimpl
    def prepare(self, model: nn.Module) -> None:
        """Return nothing."""

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, predict: Predict, loss: Loss, rng: Rng) -> None:
        """Return nothing."""

    @hookimpl
    def penalty(
        self, params: Mapping[str, Tensor], x: Tensor, y: Tensor, logits: Tensor, predict: Predict, loss: Loss, rng: Rng
    ) -> None:
        """Return nothing."""

    @hookimpl
    def learning_rate(self, progress: float, base: float) -> None:
        """Return nothing."""

    @hookimpl
    def after_epoch(self, epoch: int, metrics: Mapping[str, float], model: nn.Module) -> None:
        """Return nothing."""


def run(*, counts: Sequence[int] = (0, 1, 10), rounds: int = 21, epochs: int = 15) -> Table:
    """Time trainings with so many idle regularizers against the training with none."""
    splits, model = rr.load_data("digits", seed=0), mlp((1, 8, 8), 10)

    def train(count: int) -> Any:
        members = [Idle(name=f"idle{index}") for index in range(count)]
        return rr.train(model, members, splits, epochs=epochs)

    with threads(1):
        seconds = alternate({str(count): partial(train, count) for count in counts}, rounds=rounds)
    table = Table("hooks", "(f) Overhead of regularizers that do nothing")
    steps = epochs * -(-len(splits.train) // 50)
    for count in counts[1:]:
        spread = ratios(seconds[str(count)], seconds[str(counts[0])])
        table.add(
            idle_regularizers=count,
            time_against_none=spread,
            target=1.02 if count == 10 else None,
            overhead_percent=100 * (spread.median - 1),
            us_a_step_and_regularizer=1e6 * (spread.median - 1) * min(seconds[str(counts[0])]) / steps / count,
        )
    table.notes.append(
        f"Digits, mlp 128-64, batches of 50, {epochs} epochs, one thread; each idle regularizer implements prepare,"
        " batch, penalty, learning_rate and after_epoch with every argument."
    )
    return table
