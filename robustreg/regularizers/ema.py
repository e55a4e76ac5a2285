"""An exponential moving average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ..regularizer import Knob
from .averages import Averaging


class EMA(Averaging):
    """Keep, in the end, an exponential moving average of the weights over all steps.

    Formula: average <- d * average + (1 - d) * w after each step t = 0, 1, ..., with d = min(strength, (1 + t) / (10 +
    t)) while `warmup` is on, so that the average forgets the first weights however short the training is, and reaches
    back about a tenth of it; without it d = strength, and a strength of 0.999 needs thousands of steps. It starts from
    the initial weights. BatchNorm gets the statistics of the training images anew, without augmentation.

    Expected: clean accuracy the same or up a little at a constant learning rate, less robust overfitting and a little
    less memorization; nothing at the end of a cosine schedule.
    Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992; the warm-up: Abadi et al,
    TensorFlow: a system for large-scale machine learning, 2016.
    """

    name = "ema"
    kind = "weights"
    strength = Knob(0.999, high=0.999999, symbol="decay", doc="share of the average that a step keeps; 0 is off")
    warmup = Knob(True, doc="let the decay grow from 0.1 towards strength")

    steps: Tensor

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)
        self.register_buffer("steps", torch.tensor(0.0, dtype=torch.float64))

    def share(self, progress: float) -> Tensor:
        """Return 1 - d, and count the step."""
        decay = self.strength
        if self.warmup:
            decay = torch.minimum(decay, (1 + self.steps) / (10 + self.steps))
        self.steps.add_(1)
        return 1 - decay
