"""The small networks of the regularization tutorial beside its animal networks: one layer, and the toy regression.

Neuromatch Academy, Deep learning, W2D1 Regularization, 2021. The order in which layers are made is the tutorial's, so
that a seed gives its initial weights.
"""

from __future__ import annotations

import math

from torch import nn

from ..layers import Dropout
from .weights import weights_from


def linear(shape: tuple[int, ...], classes: int, *, weights: int = 0) -> nn.Module:
    """Return flatten and one linear layer: a logistic regression.

    Args:
        shape: of one image, or of one row of inputs.
        classes: number of logits, or of outputs.
        weights: seed of the initial weights, the same in every run; 0 for those of the run's seed.
    """
    with weights_from(weights):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))


def toy(shape: tuple[int, ...], classes: int, *, weights: int = 0) -> nn.Module:
    """Return the 300-500 network with leaky ReLU: 151,601 parameters for one input and one output.

    Args:
        shape: of one row of inputs.
        classes: number of outputs.
        weights: seed of the initial weights, the same in every run; 0 for those of the run's seed.
    """
    return _wide(shape, classes, weights, nn.Identity(), nn.Identity())


def toy_dropout(shape: tuple[int, ...], classes: int, *, weights: int = 0) -> nn.Module:
    """Return `toy` with dropout .4 and .2 in front of leaky ReLU, and the same initial weights.

    Args:
        shape: of one row of inputs.
        classes: number of outputs.
        weights: seed of the initial weights, the same in every run; 0 for those of the run's seed.
    """
    return _wide(shape, classes, weights, Dropout(0.4), Dropout(0.2))


def _wide(shape: tuple[int, ...], classes: int, weights: int, first: nn.Module, second: nn.Module) -> nn.Module:
    with weights_from(weights):
        inner = [nn.Linear(math.prod(shape), 300), first, nn.LeakyReLU(), nn.Linear(300, 500), second, nn.LeakyReLU()]
        return nn.Sequential(nn.Flatten(), *inner, nn.Linear(500, classes))
