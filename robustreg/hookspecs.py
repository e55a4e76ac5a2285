"""The two contracts of robustreg: what an installed plugin offers, and where a regularizer acts on a run.

`x` is `(batch, *shape)` floats in [0, 1] pixel units. `y` is `(batch, classes)` rows that are distributions
(in regression: `(batch, outputs)` targets). `predict(x, params=None)` gives logits and `loss(x, y, params=None)` the
mean base loss; both are the network without side effects. `rng` is the plugin's own `noise.Rng` for this step.

In `batch` and `penalty`: no `.item()`, no `if` on a tensor, no in-place edits, randomness only from `rng`, gradients
through `torch.func`. An implementation takes only the arguments it needs.
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
    from .measures.measure import Measure
    from .models.model import ModelSource
    from .noise import Rng
    from .regularizer import Regularizer

Predict = Callable[..., "Tensor"]
Loss = Callable[..., "Tensor"]

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
    def commands(self, group: click.Group) -> None:
        """Add commands to the `robustreg` command line."""


class Training:
    """Where a regularizer acts on a run. Implemented by methods of a `Regularizer`; every hook returns its effect."""

    @hookspec
    def prepare(self, model: nn.Module) -> nn.Module | None:
        """Before training: return the network to train instead. Chained."""

    @hookspec
    def batch(self, x: Tensor, y: Tensor, predict: Predict, loss: Loss, rng: Rng) -> tuple[Tensor, Tensor] | None:
        """Before the forward pass: return the batch to learn from instead. Chained."""

    @hookspec
    def penalty(
        self,
        params: Mapping[str, Tensor],
        x: Tensor,
        y: Tensor,
        logits: Tensor,
        predict: Predict,
        loss: Loss,
        rng: Rng,
    ) -> Mapping[str, Tensor] | None:
        """After the forward pass: return named scalars to add to the loss. Summed."""

    @hookspec
    def learning_rate(self, progress: float, base: float) -> float | None:
        """Before the update: return a factor of the `base` learning rate at `progress` in [0, 1). Multiplied."""

    @hookspec
    def after_epoch(self, epoch: int, metrics: Mapping[str, float], model: nn.Module) -> bool | None:
        """After each epoch: look, and return True to stop. Any."""

    @hookspec
    def finish(self, model: nn.Module) -> nn.Module | None:
        """After training: return the network to keep instead. Chained."""
