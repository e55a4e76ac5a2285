"""The networks of the regularization tutorial (Neuromatch Academy, Deep learning, W2D1 Regularization, 2021).

They end in logits; the tutorial's log-softmax followed by its negative log-likelihood is our cross-entropy. The order
in which layers are made is the tutorial's, so that a seed gives its initial weights: `weights=2021` is the tutorial's
own, in every run; 0 draws them with the run's seed.
"""

import math

from torch import nn

from ..layers import Dropout, Normalize
from .weights import weights_from


def animalnet(shape: tuple[int, ...], classes: int, *, weights: int = 0) -> nn.Module:
    """Return the 128-32 network with ReLU: 397,571 parameters on 32x32 colour images in three classes."""
    with weights_from(weights):
        return nn.Sequential(
            Normalize(0.5, 0.5),
            nn.Flatten(),
            nn.Linear(math.prod(shape), 128),
            nn.ReLU(),
            nn.Linear(128, 32),
            nn.ReLU(),
            nn.Linear(32, classes),
        )


def big_animalnet(shape: tuple[int, ...], classes: int, *, weights: int = 0) -> nn.Module:
    """Return the 124-64 network with leaky ReLU; in spite of its name it has fewer parameters than `animalnet`."""
    with weights_from(weights):
        return nn.Sequential(
            Normalize(0.5, 0.5),
            nn.Flatten(),
            nn.Linear(math.prod(shape), 124),
            nn.LeakyReLU(),
            nn.Linear(124, 64),
            nn.LeakyReLU(),
            nn.Linear(64, classes),
        )


def animalnet_dropout(shape: tuple[int, ...], classes: int, *, weights: int = 0) -> nn.Module:
    """Return the 248-210 network with dropout .5 and .3 in front of leaky ReLU."""
    with weights_from(weights):
        return nn.Sequential(
            Normalize(0.5, 0.5),
            nn.Flatten(),
            nn.Linear(math.prod(shape), 248),
            Dropout(0.5),
            nn.LeakyReLU(),
            nn.Linear(248, 210),
            Dropout(0.3),
            nn.LeakyReLU(),
            nn.Linear(210, classes),
        )
