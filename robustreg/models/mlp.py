"""A multilayer perceptron."""

import math
from itertools import pairwise

from torch import nn

from ..errors import UsageError
from ..layers import Normalize

HIDDEN = (128, 64)


def mlp(
    shape: tuple[int, ...],
    classes: int,
    *,
    hidden: tuple[int, ...] = HIDDEN,
    width: int = 0,
    depth: int = 0,
    mean: float = 0.0,
    std: float = 1.0,
) -> nn.Module:
    """Return flatten, then linear layers of the widths `hidden` with ReLU between them.

    Args:
        shape: of one image.
        classes: number of logits.
        hidden: widths of the hidden layers.
        width: of every hidden layer, in place of `hidden`; 128 when only `depth` is given.
        depth: number of hidden layers, in place of `hidden`; 2 when only `width` is given.
        mean: subtracted from the pixels.
        std: the pixels are divided by it.

    Raises:
        UsageError: for `hidden` together with `width` or `depth`.
    """
    if width or depth:
        if tuple(hidden) != HIDDEN:
            raise UsageError(f"mlp: give hidden={','.join(map(str, hidden))} or width and depth, not both")
        hidden = (width or HIDDEN[0],) * (depth or len(HIDDEN))
    widths = [math.prod(shape), *hidden]
    layers: list[nn.Module] = [Normalize(mean, std)] if (mean, std) != (0.0, 1.0) else []
    layers.append(nn.Flatten())
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
