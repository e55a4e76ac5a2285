"""The two contracts of robustreg: what an installed plugin offers, and where a regularizer acts on a run.

`x` is `(batch, *shape)` floats in [0, 1] pixel units. `y` is `(batch, classes)` rows that are distributions
(in regression: `(batch, outputs)` targets). `predict(x, params=None)` gives logits and `loss(x, y, params=None)` the
mean base loss; both are the network without side effects, in evaluation mode with `training=False`. `progress` is the
share of training that is done, in [0, 1). `rng` is the plugin's own `noise.Rng` for this step.

In `batch`, `weights`, `penalty`, `gradient` and `after_step`: no `.item()`, no `if` on a tensor, no in-place edits (but
of the plugin's own buffers), randomness only from `rng`, gradients through `torch.func`. An implementation takes only
the arguments it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click
    from torch import Tensor, nn

    from .attacks.attack import Attack
    from .data.dataset import DataSource
    from .data.split import Split
    from .engines.engine import EngineSource
    from .measures.measure import Measure
    from .models.model import ModelSource
    from .noise import Rng
    from .regularizer import Regularizer

Predict = Callable[..., "Tensor"]
Loss = Callable[..., "Tensor"]
Weights = Mapping[str, "Tensor"]
Fit = Callable[..., "nn.Module"]

PROJECT = "robustreg"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Catalogue:
    """What an installed plugin offers. Implemented by modules, found by entry-point group `robustreg`, called once."""

    @hookspec
    def regularizers(self) -> Iterable[type[Regularizer]]:
        """Offer regularizers; users pick them by `name`."""

    @hookspec
    def attacks(self) -> Iterable[Attack]:
        """Offer attacks on a trained model."""

    @hookspec
    def measures(self) -> Iterable[Measure]:
        """Offer measures of a trained model."""

    @hookspec
    def datasets(self) -> Iterable[DataSource]:
        """Offer data sets."""

    @hookspec
    def models(self) -> Iterable[ModelSource]:
        """Offer models."""

    @hookspec
    def engines(self) -> Iterable[EngineSource]:
        """Offer places where the tasks of a study are done."""

    @hookspec
    def commands(self, group: click.Group) -> None:
        """Add commands to the `robustreg` command line."""


class Training:
    """Where a regularizer acts on a run. Implemented by methods of a `Regularizer`; every hook returns its effect.

    `params`, `gradients` and `before` map the names of the network's parameters to tensors.
    """

    @hookspec
    def prepare(self, model: nn.Module, fit: Fit) -> nn.Module | None:
        """Before training: return the network to train instead. Chained.

        `fit(model, *regularizers)` returns a copy of `model` trained on the same data with the same recipe and seed.
        """

    @hookspec
    def before_epoch(self, x: Tensor, y: Tensor, epoch: int, rng: Rng) -> tuple[Tensor, Tensor] | None:
        """Before each epoch: return the training set to learn from in it, as many images. Chained.

        `x` is the whole set as the split keeps it (uint8 or floats), `y` its labels or rows. Called run by run.
        """

    @hookspec
    def batch(
        self, x: Tensor, y: Tensor, predict: Predict, loss: Loss, progress: float, rng: Rng
    ) -> tuple[Tensor, Tensor] | None:
        """Before the forward pass: return the batch to learn from instead. Chained."""

    @hookspec
    def weights(self, params: Weights, x: Tensor, y: Tensor, loss: Loss, progress: float, rng: Rng) -> Weights | None:
        """Before the forward pass: return the weights at which the loss and its gradient are taken. Chained."""

    @hookspec
    def penalty(
        self,
        params: Weights,
        x: Tensor,
        y: Tensor,
        logits: Tensor,
        predict: Predict,
        loss: Loss,
        progress: float,
        rng: Rng,
    ) -> Mapping[str, Tensor] | None:
        """After the forward pass: return named scalars to add to the loss. Summed."""

    @hookspec
    def gradient(self, params: Weights, gradients: Weights, progress: float, rng: Rng) -> Weights | None:
        """After the backward pass: return the gradients to follow instead. Chained."""

    @hookspec
    def learning_rate(self, progress: float, base: float) -> float | None:
        """Before the update: return a factor of the `base` learning rate at `progress` in [0, 1). Multiplied."""

    @hookspec
    def after_step(
        self, params: Weights, before: Weights, learning_rate: Tensor, progress: float, rng: Rng
    ) -> Weights | None:
        """After the update of the weights `before` to `params`: return the weights to go on with. Chained."""

    @hookspec
    def after_epoch(self, epoch: int, metrics: Mapping[str, float], model: nn.Module, val: Split) -> bool | None:
        """After each epoch: look, and return True to stop. Any. `val` is the validation split."""

    @hookspec
    def finish(self, model: nn.Module, train: Split | None) -> nn.Module | None:
        """After training: return the network to keep. Chained. `train` is the un-augmented training split, if any."""
