"""Stochastic weight averaging: the mean of the weights over the end of training."""

from __future__ import annotations

import torch
from torch import Tensor

from ..regularizer import Knob
from .averages import Averaging


class SWA(Averaging):
    """Keep, in the end, the mean of the weights after each step of the last share `strength` of training.

    Formula: w = mean of w_t over the steps t with t / T >= 1 - strength, T the number of all steps. The paper takes the
    weights once an epoch; every step gives the mean of more of them. BatchNorm gets the statistics of the training
    images anew, without augmentation. Best with a learning rate that stays large, as the constant one; a run that is
    stopped before the last share begins keeps its weights as they are.

    Expected: clean accuracy the same or up a little at a constant learning rate, less robust overfitting, a little
    less memorization; hardly anything at the end of a cosine schedule.
    Izmailov et al, Averaging weights leads to wider optima and better generalization, 2018.
    """

    name = "swa"
    kind = "weights"
    strength = Knob(0.25, high=1, symbol="share", doc="share of training, at its end, that is averaged; 0 is off")

    count: Tensor

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)
        self.register_buffer("count", torch.tensor(0.0, dtype=torch.float64))

    def share(self, progress: float) -> Tensor:
        """Return one over the number of weights averaged so far, these included; 0 before the last share."""
        begun = (progress >= 1 - self.strength).to(self.count.dtype)
        self.count.add_(begun)
        return begun / self.count.clamp_min(1)

    @property
    def averaged(self) -> bool:
        """Whether the last share was reached."""
        return bool(self.count > 0)
