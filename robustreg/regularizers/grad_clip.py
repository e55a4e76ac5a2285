"""Gradient clipping by the norm of the whole gradient."""

import torch

from ..hookspecs import Weights, hookimpl
from ..regularizer import Knob, Regularizer

LEAST = 1e-6  # added to the norm, as torch does


class GradClip(Regularizer):
    """Shorten the gradient of each step to a norm of at most `strength`.

    Formula: g <- g * min(1, c / (||g|| + 1e-6)), the norm over all parameters together, as
    `torch.nn.utils.clip_grad_norm_` computes it. 0 is off; of all other values the smaller is the stronger.

    Expected: training is stable at larger learning rates; clean accuracy, memorization and robust accuracy change
    little; where c is so small that it lowers the learning rate, memorization falls.
    Pascanu et al, On the difficulty of training recurrent neural networks, 2013.
    """

    name = "grad_clip"
    kind = "weights"
    strength = Knob(1.0, symbol="c", log=True, doc="largest norm of the gradient; 0 is off")

    @hookimpl
    def gradient(self, gradients: Weights) -> Weights:
        """Return the gradient, shortened if it is too long."""
        norm = torch.stack([one.norm() for one in gradients.values()]).norm()
        share = (self.strength.to(norm.dtype) / (norm + LEAST)).clamp_max(1)
        share = torch.where(self.strength == 0, 1, share)
        return {name: one * share.to(one.dtype) for name, one in gradients.items()}
