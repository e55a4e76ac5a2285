"""Max-norm: the weights into each unit are kept in a ball."""

import torch
from torch import Tensor

from ..hookspecs import Weights, hookimpl
from ..regularizer import Knob, Regularizer


def shortened(weight: Tensor, longest: Tensor) -> Tensor:
    """Return a weight whose rows (the kernels into each output unit) have a Euclidean norm of at most `longest`.

    Args:
        weight: `(outputs, ...)`, two dimensions or more; shorter rows stay as they are, to the last bit.
        longest: a scalar above 0.
    """
    norms = weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
    longest = longest.to(weight.dtype)
    return torch.where(norms > longest, weight * (longest / norms), weight)


class MaxNorm(Regularizer):
    """After each update, pull the weights into every unit back to a norm of at most `strength`.

    Formula: w_i <- w_i * min(1, c / ||w_i||) for each row i of each weight matrix and each kernel of a convolution;
    biases are left alone. 0 is off; of all other values the smaller is the stronger, and none does anything while all
    norms are below it. The paper takes 3 to 4 for its wide networks, which never binds in a small one.

    Expected: clean accuracy unchanged, memorization down a lot and robust accuracy up where c is small enough to bind.
    Made to go with dropout and large learning rates.
    Srivastava et al, Dropout: a simple way to prevent neural networks from overfitting, 2014.
    """

    name = "max_norm"
    kind = "weights"
    strength = Knob(1.0, symbol="c", log=True, doc="largest norm of the weights into a unit; 0 is off")

    @hookimpl
    def after_step(self, params: Weights) -> Weights:
        """Return the weights inside their balls."""
        off = self.strength == 0
        return {
            name: torch.where(off, value, shortened(value, self.strength))
            for name, value in params.items()
            if value.ndim > 1
        }
