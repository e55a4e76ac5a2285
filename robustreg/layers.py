"""Layers that draw keyed noise, and the layer that normalizes pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .noise import Key, Rng


class Noisy(nn.Module):
    """A layer that draws random numbers while training.

    The objective gives every noisy layer a key for the step, so that the forward passes of one step (the main one and
    those an attack makes) see the same noise. Outside an objective the key is drawn from torch's global generator.
    """

    key: Key | None = None

    def rng(self, device: torch.device) -> Rng:
        """Return the generator of this forward pass."""
        key = int(torch.randint(2**62, (), dtype=torch.int64)) if self.key is None else self.key
        return Rng(key, device)


def noisy_layers(network: nn.Module) -> list[tuple[str, Noisy]]:
    """Return the noisy layers of `network` with their names, for `keyed`: found once, they need no search each step."""
    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, Noisy)]


@contextmanager
def keyed(layers: nn.Module | Iterable[tuple[str, Noisy]], key: Rng | Key) -> Iterator[None]:
    """Give every noisy layer its own key below `key`, and take the keys away afterwards.

    Args:
        layers: a network, or its `noisy_layers`.
        key: a generator, or the key of one.
    """
    found = noisy_layers(layers) if isinstance(layers, nn.Module) else list(layers)
    rng = key if isinstance(key, Rng) else Rng(key)
    for name, layer in found:
        layer.key = rng.split(name).key
    try:
        yield
    finally:
        for _, layer in found:
            layer.key = None


class Dropout(Noisy):
    """Zero each value with probability `p` while training and scale the rest by 1 / (1 - p).

    Args:
        p: probability in [0, 1), a buffer, so that the runs of a cohort can differ in it.

    Srivastava et al, Dropout: a simple way to prevent neural networks from overfitting, 2014.
    """

    p: Tensor

    def __init__(self, p: float | Tensor) -> None:
        super().__init__()
        self.register_buffer("p", torch.as_tensor(p, dtype=torch.float32).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` thinned in training mode, `x` itself in evaluation mode; any shape."""
        if not self.training:
            return x
        keep = 1 - self.p
        return x * self.rng(x.device).bernoulli(keep, *x.shape, dtype=x.dtype).div_(keep)


class Normalize(nn.Module):
    """Map pixels in [0, 1] to (x - mean) / std, so that attacks and eps stay in pixel units.

    Args:
        mean: one value, or one a channel.
        std: one value, or one a channel; positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).reshape(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized `(batch, channels, height, width)` images."""
        return (x - self.mean) / self.std
