"""What the regularizers that keep an average of the weights have in common."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..hookspecs import Weights, hookimpl
from ..inference import device_of
from ..regularizer import Regularizer

if TYPE_CHECKING:
    from ..data.split import Split


def refresh(model: nn.Module, train: Split) -> None:
    """Compute the statistics of every BatchNorm layer anew, in place: those of `model` on its training images.

    The mean over batches of what each layer sees, in training mode, so with dropout; the noise is the same whenever it
    is asked for. Nothing happens to a network without BatchNorm.
    """
    device = device_of(model)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        torch.optim.swa_utils.update_bn(_batches(train, device), model, device)


def _batches(train: Split, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for x, y in train.batches(device=device):
        if len(x) > 1 or len(train) == 1:  # a single image has no spread, and BatchNorm refuses it
            yield x, y


class Averaging(Regularizer):
    """Keep an average of the weights beside them, and the network with the average in the end.

    A subclass says in `share` how far the average goes towards the weights at each step.
    """

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        self.average: nn.Module | None = None

    def share(self, progress: float) -> Tensor:
        """Return the share of the way from the average to the weights; 1 makes them the average."""
        raise NotImplementedError

    @property
    def averaged(self) -> bool:
        """Whether the average is to be kept in the place of the weights."""
        return bool(self.strength > 0)

    @hookimpl(trylast=True)
    def prepare(self, model: nn.Module) -> None:
        """Keep a copy of the network, as every other regularizer has prepared it, to hold the average."""
        if self.strength:
            self.average = copy.deepcopy(model).requires_grad_(False)

    @hookimpl(trylast=True)
    def after_step(self, params: Weights, progress: float) -> None:
        """Move the average towards the weights, as every other regularizer has left them."""
        if self.average is None:
            return
        share = self.share(progress)
        for name, value in self.average.named_parameters():
            value.copy_(torch.lerp(value, params[name], share.to(value.dtype)))

    @hookimpl(trylast=True)
    def finish(self, model: nn.Module, train: Split | None) -> None:
        """Put the average into the network, and let BatchNorm see the training images with it."""
        if self.average is None or not self.averaged:
            return
        with torch.no_grad():
            for value, average in zip(model.parameters(), self.average.parameters(), strict=True):
                value.copy_(average)
        if train is not None and len(train):
            refresh(model, train)
