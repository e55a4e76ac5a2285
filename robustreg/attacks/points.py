"""Some points of one network, or of several: what an attack asks about, and how it leaves the others out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..noise import Rng, fold, seed_key
from .gradients import outputs
from .siblings import Siblings, rows


@dataclass(frozen=True, eq=False)
class Points:
    """Clean images with all that an attack needs to know of them; `points[at]` are those at some positions.

    The network goes with its points, so that an attack never knows whether there is one network or, as in a cohort,
    one for every few points.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits, in evaluation mode.
        x: clean images `(n, *shape)`.
        y: int64 labels `(n,)`.
        seed: decides what is random; an int64 tensor `(n,)` where points differ in it.
        samples: a number for each point, int64 `(n,)`, that keys what is random, together with the seed.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    seed: int | Tensor
    samples: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, at: Tensor) -> Points:
        """Return the points at int64 positions, ascending."""
        return Points(
            rows(self.model, at),
            self.x.index_select(0, at),
            self.y.index_select(0, at),
            self.seed[at] if isinstance(self.seed, Tensor) else self.seed,
            self.samples.index_select(0, at),
        )

    def of(self, model: nn.Module, at: Tensor, seed: int) -> Points:
        """Return the points at some positions, all of one model, without its siblings."""
        return Points(model, self.x[at], self.y[at], seed, self.samples[at])

    def split(self, size: int) -> Iterator[Points]:
        """Yield the points in batches of at most `size`."""
        if len(self) <= size:
            yield self
            return
        for at in torch.arange(len(self), device=self.x.device).split(size):
            yield self[at]

    def batches(self, images: Tensor, size: int) -> Iterator[tuple[nn.Module, Tensor]]:
        """Yield the networks, with other `images` of the points, in batches of at most `size`."""
        return zip((part.model for part in self.split(size)), images.split(size), strict=True)

    def logits(self, batch_size: int) -> Tensor:
        """Return the `(n, classes)` logits of the clean images; a UsageError if the labels do not fit them."""
        if isinstance(self.model, Siblings) and (known := self.model.remembered(self.x)) is not None:
            return known
        return torch.cat([outputs(part.model, part.x, part.y) for part in self.split(batch_size)])

    def rng(self, *path: str | int) -> Rng:
        """Return the generator at a path below the seed: one key for all points, or one each, `(n,)`."""
        key = seed_key(self.seed)
        for name in path:
            key = fold(key, name)
        return Rng(key, self.x.device)
