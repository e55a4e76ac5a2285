"""Generalized cross-entropy: a loss that wrong labels pull at less."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from robustreg import Knob, Regularizer, hookimpl


def generalized_cross_entropy(logits: Tensor, y: Tensor, q: Tensor) -> Tensor:
    """Return the mean of sum_k y_k * (1 - p_k**q) / q, a scalar; at q = 0 its limit, the cross-entropy.

    Args:
        logits: `(batch, classes)`.
        y: `(batch, classes)` rows.
        q: a scalar in [0, 1].
    """
    log_p = logits.log_softmax(-1)
    positive = torch.where(q == 0, 1, q)
    lost = torch.where(q == 0, -log_p, -(positive * log_p).expm1() / positive)
    return (y * lost).sum(-1).mean()


class GeneralizedCrossEntropy(Regularizer):
    """Put (1 - p_y**q) / q in the place of the cross-entropy, q the `strength`.

    q = 0 is the cross-entropy, q = 1 the mean absolute error, which weighs all images alike: an image that the network
    gives p_y pulls p_y**q times as much as under the cross-entropy. The term is what the two losses differ by, so it
    is negative.

    Expected: memorization of wrong labels down a lot, accuracy under label noise up; slower to train, clean accuracy
    of hard data down; robust accuracy hardly changed, FGSM may be flattered.
    Zhang and Sabuncu, Generalized cross entropy loss for training deep neural networks with noisy labels, 2018.
    """

    name = "gce"
    kind = "labels and outputs"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    strength = Knob(0.7, high=1, symbol="q", doc="exponent: 0 is cross-entropy, 1 the mean absolute error")

    @hookimpl
    def penalty(self, y: Tensor, logits: Tensor) -> Mapping[str, Tensor]:
        """Return by how much the loss differs from the cross-entropy."""
        q = self.strength.to(logits.dtype)
        change = generalized_cross_entropy(logits, y, q) - F.cross_entropy(logits, y)
        return {self.name: torch.where(q == 0, 0, change)}
