"""The tutorial's toy regression as data: ten noisy points of y = 2x.

Neuromatch Academy, Deep learning, W2D1 Regularization, 2021. `line` and `line_with_validation` are functions from seed
to `Splits`, as a user's own could be, to be named as `package.module:function`.
"""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor, nn

from ..data import Split, Splits
from ..layers import Dropout
from ..models import toy, toy_dropout

SEED = 2021  # the tutorial's
POINTS, GRID = 10, 40
SLOPE, NOISE = 2.0, 2.0


def line(seed: int) -> Splits:
    """Return the tutorial's data, with seed 2021 bit for bit: the true function on a grid is validation and test."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        points = _draw()
    grid = _grid()
    return _splits(points, grid, grid, seed)


def line_with_validation(seed: int) -> Splits:
    """Return the data of `line` with ten more noisy points for validation, so that only the test sees the truth."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        points, more = _draw(), _draw()
    return _splits(points, more, _grid(), seed)


def ten_inputs(seed: int) -> Splits:
    """Return ten points with ten inputs each, for a network that is only looked at."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        points = torch.rand(POINTS, 10), torch.rand(POINTS, 1)
    return _splits(points, points, points, seed)


def twenty_inputs(seed: int) -> Splits:
    """Return ten points with twenty inputs and outputs each, for a network that is only looked at."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        points = torch.rand(POINTS, 20), torch.rand(POINTS, 20)
    return _splits(points, points, points, seed)


def after_the_data(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network that the tutorial compares with dropout: its weights come after the data in the stream.

    So the two networks start from different weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        _draw()
        return toy(shape, classes)


def with_the_tutorials_masks(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return `toy_dropout` with the tutorial's weights, whose masks come after them in torch's stream, as there.

    Such a network is no model for a study: what it draws depends on how often it was asked before.
    """
    network = toy_dropout(shape, classes, weights=SEED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        toy(shape, classes)
        stream = _Stream(torch.get_rng_state())
    for name, layer in network.named_children():
        if isinstance(layer, Dropout):
            setattr(network, name, _StreamDropout(float(layer.p), stream))
    return network


class _Stream:
    """A stream of random numbers that a copy of the network goes on with from where it is."""

    def __init__(self, state: Tensor) -> None:
        self.generator = torch.Generator()
        self.generator.set_state(state)

    def __deepcopy__(self, memo: dict[int, object]) -> _Stream:
        copied = memo[id(self)] = _Stream(self.generator.get_state())
        return copied


class _StreamDropout(nn.Module):
    def __init__(self, p: float, stream: _Stream) -> None:
        super().__init__()
        self.keep, self.stream = 1 - round(p, 6), stream

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * torch.empty_like(x).bernoulli_(self.keep, generator=self.stream.generator).div_(self.keep)


def _draw() -> tuple[Tensor, Tensor]:
    x = torch.rand(POINTS, 1)
    return x, SLOPE * x + NOISE * torch.empty(POINTS, 1).normal_()


def _grid() -> tuple[Tensor, Tensor]:
    x = torch.linspace(0, 1, GRID).unsqueeze(1)
    return x, SLOPE * x


def _splits(train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int) -> Splits:
    digest = sha256(b"".join(each.numpy().tobytes() for pair in (train, val, test) for each in pair)).hexdigest()
    first, second, third = (Split(x, y, (), torch.arange(len(x))) for x, y in (train, val, test))
    return Splits(
        first, second, third, name="line", classes=(), shape=tuple(train[0].shape[1:]), hash=digest, seed=seed
    )
