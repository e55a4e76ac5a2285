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


class Mute(Regularizer):
    """The same without arguments: what is left is the cost of the calls."""

    name = "mute"

    @hookimpl
    def prepare(self) -> None:
        """Return nothing."""

    @hookimpl
    def batch(self) -> None:
        """Return nothing."""

    @hookimpl
    def penalty(self) -> None:
        """Return nothing."""

    @hookimpl
    def learning_rate(self) -> None:
        """Return nothing."""

    @hookimpl
    def after_epoch(self) -> None:
        """Return nothing."""


KINDS = {"every": Idle, "none": Mute}
SIDES = ((0, "none"), (1, "every"), (10, "every"), (1, "none"), (10, "none"))


def run(*, sides: Sequence[tuple[int, str]] = SIDES, rounds: int = 21, epochs: int = 15) -> Table:
    """Time trainings with so many idle regularizers of a kind against the training with none, the first side."""
    splits, model = rr.load_data("digits", seed=0), mlp((1, 8, 8), 10)

    def train(count: int, takes: str) -> Any:
        members = [KINDS[takes](name=f"idle{index}") for index in range(count)]
        return rr.train(model, members, splits, epochs=epochs)

    with threads(1):
        seconds = alternate({str(side): partial(train, *side) for side in sides}, rounds=rounds)
    table = Table("hooks", "(f) Overhead of regularizers that do nothing")
    steps, alone = epochs * -(-len(splits.train) // 50), seconds[str(sides[0])]
    for count, takes in sides[1:]:
        spread = ratios(seconds[str((count, takes))], alone)
        table.add(
            idle_regularizers=count,
            arguments=takes,
            time_against_none=spread,
            target=1.02 if count == 10 else None,
            overhead_percent=100 * (spread.median - 1),
            us_a_step_and_regularizer=1e6 * (spread.median - 1) * min(alone) / steps / count,
        )
    table.notes.append(
        f"Digits, mlp 128-64, batches of 50, {epochs} epochs, one thread; each idle regularizer implements prepare,"
        " batch, penalty, learning_rate and after_epoch, with every argument or without any. A run's share of setting"
        " them up (copies, pluggy) is in the steps."
    )
    return table
