"""Layers that draw keyed noise, the layer that normalizes pixels, and the one that squeezes them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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
        mean_std = [torch.as_tensor(value, dtype=torch.float32).reshape(-1, 1, 1) for value in (mean, std)]
        for name, value in zip(("mean", "std"), torch.broadcast_tensors(*mean_std), strict=True):
            self.register_buffer(name, value.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized `(batch, channels, height, width)` images."""
        return (x - self.mean).div_(self.std)  # in place: fetching memory for large images costs more than dividing


class Squeeze(nn.Module):
    """Round pixels to `bits` bits, then take the median of each window, with a derivative that attacks can use.

    Neither has a useful one, so others stand in for it: for rounding that of doing nothing, for the median that of the
    window's mean (backward pass differentiable approximation). The median's own, which sees one pixel of each window,
    leads attacks astray: on MNIST at 1 bit and k = 3 PGD with it looks 24 points weaker than it is at eps 0.3.

    The window of pixel i reaches from i - k // 2 to i + (k - 1) // 2 in both directions, the border repeated outside;
    of an even number of pixels the median is the upper one of the two in the middle.

    Args:
        bits: at least 1.
        median: side k of the window in pixels; 0 and 1 for none.

    Xu et al, Feature squeezing: detecting adversarial examples in deep neural networks, 2018; the derivative: Athalye
    et al, Obfuscated gradients give a false sense of security, 2018.
    """

    def __init__(self, bits: int, median: int = 0) -> None:
        super().__init__()
        self.bits, self.median = bits, median

    def forward(self, x: Tensor) -> Tensor:
        """Return the squeezed `(..., height, width)` images."""
        levels, size = 2**self.bits - 1, self.median
        hard, soft = (x.detach() * levels).round() / levels, x
        if size > 1:
            hard, soft = windows(hard, size).sort(-1).values[..., size * size // 2], windows(x, size).mean(-1)
        return hard + (soft - soft.detach())  # plus exactly 0

    def extra_repr(self) -> str:
        """Show the settings in `repr`."""
        return f"bits={self.bits}, median={self.median}"


def windows(x: Tensor, size: int) -> Tensor:
    """Return the `size` x `size` windows of `(..., height, width)` images, `(..., height, width, size**2)`."""
    height, width = x.shape[-2:]
    for dim in (-2, -1):
        at = torch.arange(-(size // 2), x.shape[dim] + (size - 1) // 2, device=x.device)
        x = x.index_select(dim, at.clamp(0, x.shape[dim] - 1))
    moved = [x[..., down : down + height, :] for down in range(size)]  # not unfold, which vmap has no derivative of
    return torch.stack([one[..., right : right + width] for one in moved for right in range(size)], -1)


class _Front:
    """A layer that a network's input goes through first."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, network: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return (self.layer(inputs[0]), *inputs[1:]), named


def put_in_front(network: nn.Module, layer: nn.Module) -> nn.Module:
    """Let all that `network` is asked go through `layer`, a layer without weights, first; return the network.

    Its type and the names of its weights stay, so that they are saved and loaded as before: the layer is not saved.
    """
    network.register_forward_pre_hook(_Front(layer), with_kwargs=True)
    return network


def behind(network: nn.Module) -> nn.Module:
    """Return a copy of the network without what `put_in_front` has put there: what a naive attacker attacks."""
    copied = copy.deepcopy(network)
    for key, hook in list(copied._forward_pre_hooks.items()):
        if isinstance(hook, _Front):
            del copied._forward_pre_hooks[key], copied._forward_pre_hooks_with_kwargs[key]
    return copied
