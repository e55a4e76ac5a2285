"""A multilayer perceptron."""

import math
from itertools import pairwise

from torch import nn

from ..layers import Normalize


def mlp(
    shape: tuple[int, ...], classes: int, *, hidden: tuple[int, ...] = (128, 64), mean: float = 0.0, std: float = 1.0
) -> nn.Module:
    """Return flatten, then linear layers of the widths `hidden` with ReLU between them.

    Args:
        shape: of one image.
        classes: number of logits.
        hidden: widths of the hidden layers.
        mean: subtracted from the pixels.
        std: the pixels are divided by it.
    """
    widths = [math.prod(shape), *hidden]
    layers: list[nn.Module] = [Normalize(mean, std)] if (mean, std) != (0.0, 1.0) else []
    layers.append(nn.Flatten())
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
