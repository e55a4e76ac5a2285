"""Focal loss: images that are right already count less."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl

FLOOR = 1e-12  # of 1 - p, whose logarithm is taken


def focal(logits: Tensor, y: Tensor, gamma: Tensor) -> Tensor:
    """Return what the mean of sum_k -y_k * (1 - p_k)**gamma * log p_k exceeds the cross-entropy by: a scalar below 0.

    Args:
        logits: `(batch, classes)`.
        y: `(batch, classes)` rows.
        gamma: a scalar, at least 0.
    """
    log_p = logits.log_softmax(-1)
    log_rest = (-log_p.expm1()).clamp_min(FLOOR).log()
    return (-y * log_p * (gamma * log_rest).expm1()).sum(-1).mean()


class FocalLoss(Regularizer):
    """Put -(1 - p_y)**gamma * log p_y in the place of the cross-entropy, gamma the `strength`.

    gamma = 0 is the cross-entropy. The term is what the two losses differ by, so it is negative.

    Expected: predictions less sure and mostly better calibrated; clean accuracy the same, better where classes are
    rare; wrong labels are memorized more; robust accuracy hardly changed, FGSM may be flattered.
    Lin et al, Focal loss for dense object detection, 2017; Mukhoti et al, Calibrating deep neural networks using focal
    loss, 2020.
    """

    name = "focal"
    kind = "labels and outputs"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    strength = Knob(2.0, high=100, symbol="gamma", doc="exponent of 1 - p; 0 is cross-entropy")

    @hookimpl
    def penalty(self, y: Tensor, logits: Tensor) -> Mapping[str, Tensor]:
        """Return by how much the loss differs from the cross-entropy."""
        return {self.name: focal(logits, y, self.strength.to(logits.dtype))}
