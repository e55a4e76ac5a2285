"""Mixup: learning from blends of two images and their labels."""

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer


def mix(x: Tensor, y: Tensor, share: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """Return share * (x, y) + (1 - share) * (x, y)[partner].

    Args:
        x: `(batch, *shape)`.
        y: `(batch, classes)` rows, or `(batch, outputs)` targets.
        share: a scalar in [0, 1].
        partner: `(batch,)` indices.
    """
    other = 1 - share  # of the partner: with a share of 1 the batch stays as it is, to the last bit
    return x + other * (x[partner] - x), y + other * (y[partner] - y)


class Mixup(Regularizer):
    """Learn from convex blends of pairs of images, with one Beta(`strength`, `strength`) share a batch.

    Expected: clean accuracy the same or up, memorization down a lot; FGSM flatters it, a real attack does not.
    Zhang et al, mixup: beyond empirical risk minimization, 2018.
    """

    name = "mixup"
    kind = "augmentation"
    strength = Knob(1.0, high=100, symbol="alpha", doc="both parameters of the Beta distribution of the share")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the blended batch."""
        share = torch.where(self.strength == 0, 1, rng.symmetric_beta(self.strength)).to(x.dtype)
        return mix(x, y, share, rng.permutation(len(x)))
