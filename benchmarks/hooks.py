"""(f) What a regularizer costs that does nothing."""

from __future__ import annotations

import copy
import timeit
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

import robustreg as rr
from robustreg.data.split import Splits
from robustreg.hooks import training_hooks
from robustreg.hookspecs import Loss, Predict, hookimpl
from robustreg.models import cnn, mlp
from robustreg.noise import Rng
from robustreg.objective import Objective
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
Train = Callable[[list[Regularizer], Splits, int], Any]


def _alone(make: Callable[[], nn.Module], members: list[Regularizer], splits: Splits, epochs: int) -> Any:
    return rr.train(make(), members, splits, epochs=epochs)


def _stacked(make: Callable[[], nn.Module], members: list[Regularizer], splits: Splits, epochs: int) -> Any:
    return rr.train_many(make, members, splits, seeds=10, epochs=epochs, together=True)


TRAININGS: dict[str, tuple[Train, float]] = {  # and the share of the epochs
    "mlp 128-64": (partial(_alone, partial(mlp, (1, 8, 8), 10)), 1),
    "mlp 128-64, 10 runs stacked": (partial(_stacked, partial(mlp, (1, 8, 8), 10)), 1),
    "cnn": (partial(_alone, partial(cnn, (1, 8, 8), 10)), 1 / 3),
}


def run(
    *,
    sides: Sequence[tuple[int, str]] = SIDES,
    rounds: int = 11,
    epochs: int = 15,
    trainings: Iterable[str] = tuple(TRAININGS),
) -> Table:
    """Time trainings with so many idle regularizers of a kind against the training with none, the first side."""
    splits = rr.load_data("digits", seed=0)
    table = Table("hooks", "(f) Overhead of regularizers that do nothing")
    for name in trainings:
        train, share = TRAININGS[name]
        length = max(1, round(epochs * share))

        def trained(count: int, takes: str, train: Train = train, length: int = length) -> Any:
            return train([KINDS[takes](name=f"idle{index}") for index in range(count)], splits, length)

        with threads(1):
            seconds = alternate({str(side): partial(trained, *side) for side in sides}, rounds=rounds)
        steps, alone = length * -(-len(splits.train) // 50), seconds[str(sides[0])]
        for count, takes in sides[1:]:
            spread = ratios(seconds[str((count, takes))], alone)
            table.add(
                training=name,
                idle_regularizers=count,
                arguments=takes,
                time_against_none=spread,
                target=1.02 if count == 10 else None,
                overhead_percent=100 * (spread.median - 1),
                us_a_step=1e6 * (spread.median - 1) * min(alone) / steps,
                us_a_step_with_none=1e6 * min(alone) / steps,
            )
    with threads(1):
        parts = ", ".join(f"{what} {1e6 * seconds:.2g}" for what, seconds in pieces(splits).items())
    table.notes.append(f"Pieces by themselves, in a loop that does nothing else, us: {parts}.")
    table.notes.append(
        f"Digits, batches of 50, {epochs} epochs (of the cnn a third), one thread; each idle regularizer implements"
        " prepare, batch, penalty, learning_rate and after_epoch, with every argument or without any. A run's share of"
        " setting them up (copies, checks, comparing a stack with its runs) is in the steps."
    )
    return table


def pieces(splits: Splits) -> dict[str, float]:
    """Return the seconds of what idle regularizers make a run do, each by itself: the least of several rounds."""
    made = {takes: [kind(name=f"idle{index}") for index in range(10)] for takes, kind in KINDS.items()}
    asked = {takes: Objective(mlp((1, 8, 8), 10), members) for takes, members in made.items()}
    x, y = next(splits.train.batches(None, 50))
    rows = asked["every"].rows(x, y)
    work: dict[str, Callable[[], Any]] = {
        "a function call": lambda: None,
        "labels as rows": lambda: asked["every"].rows(x, y),
        "asking ten for a batch, every argument": lambda: asked["every"].learned_from(x, rows, 0),
        "asking ten for a batch, no argument": lambda: asked["none"].learned_from(x, rows, 0),
        "asking ten for penalties, every argument": lambda: asked["every"].penalties(x, rows, rows, 0),
        "copying a regularizer": lambda: copy.deepcopy(made["every"][0]),
        "finding the hooks of ten": lambda: training_hooks(made["every"], "classification"),
    }
    return {what: min(timeit.repeat(do, number=200, repeat=7)) / 200 for what, do in work.items()}
