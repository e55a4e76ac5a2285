"""Interval bound propagation: what a network's outputs cannot leave while each pixel moves within an interval.

Gowal et al, On the effectiveness of interval bound propagation for training verifiably robust models, 2018.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..inference import device_of
from ..layers import Dropout, Normalize

Bounds = tuple[Tensor, Tensor]

IDENTITY = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, Dropout)
CONVOLUTION = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LINEAR = (nn.Linear, *CONVOLUTION)
SCALE = (Normalize, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Never falling in any input, so bounds are mapped to bounds, and these are attained.
MONOTONE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Flatten, nn.Unflatten,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.ZeroPad2d,
)  # fmt: skip
ROUNDING = 1e-5  # of the largest logit bound: what float32 may get wrong where the proof counts exactly


def layers_of(model: nn.Module) -> list[nn.Module] | None:
    """Return float64 copies of the layers of a chain, in evaluation mode; None for a model that is not understood.

    Understood are `nn.Sequential`, nested too, of linear and convolution layers, batch normalization with running
    statistics, `Normalize`, activations that never fall, pooling, flattening and dropout. A layer that overrides
    `forward`, or has a hook that changes what it computes, is not.
    """
    if not _plain(model, nn.Sequential):
        return _known(model)
    found: list[nn.Module] = []
    for child in model.children():
        layers = layers_of(child)
        if layers is None:
            return None
        found += layers
    return None if model._forward_pre_hooks else found


def proved(layers: list[nn.Module], x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return which points no image within `eps` in every pixel, and within [0, 1], can turn: booleans `(n,)`.

    Sufficient, not necessary: a point that is not proved may well be robust. The last layer, where it is linear, is
    joined with the difference between the label's logit and each other one, which is tighter than to bound both.

    Args:
        layers: at least one, as `layers_of` returns them.
        x: images `(n, *shape)` in [0, 1], on the device of the layers.
        y: int64 labels `(n,)`.
        eps: pixel units, at least 0.
    """
    *body, last = layers
    x = x.double()
    bounds = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    if not isinstance(last, nn.Linear):
        low, high = propagate(layers, bounds)
        rivals = high.scatter(-1, y.unsqueeze(-1), -torch.inf).amax(-1)
        lead = low.gather(-1, y.unsqueeze(-1)).squeeze(-1) - rivals
        return lead > ROUNDING * torch.maximum(low.abs(), high.abs()).amax(-1)
    low, high = propagate(body, bounds)
    middle, radius = (high + low) / 2, (high - low) / 2
    with torch.no_grad():
        scale = (last(middle).abs() + F.linear(radius, last.weight.abs())).amax(-1)
        lead = torch.empty_like(scale)
        for label in y.unique().tolist():
            mine = y == label
            ahead = last.weight[label] - last.weight
            offset = None if last.bias is None else last.bias[label] - last.bias
            bound = F.linear(middle[mine], ahead, offset) - F.linear(radius[mine], ahead.abs())
            bound[:, label] = torch.inf  # itself
            lead[mine] = bound.amin(-1)
    return lead > ROUNDING * scale


def propagate(layers: list[nn.Module], bounds: Bounds) -> Bounds:
    """Return the lowest and highest outputs of a chain of layers over boxes of inputs, each `(n, *shape)`."""
    low, high = bounds
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, LINEAR):
                middle = _apply(layer, (high + low) / 2, layer.weight, layer.bias)
                radius = _apply(layer, (high - low) / 2, layer.weight.abs())
                low, high = middle - radius, middle + radius
            else:
                ends = layer(low), layer(high)
                low, high = torch.minimum(*ends), torch.maximum(*ends)  # a scale may be negative
    return low, high


def _apply(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer with other numbers in it; what it pads with is exact, so it has no radius."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    assert isinstance(layer, CONVOLUTION)
    return layer._conv_forward(x, weight, bias)


def _known(layer: nn.Module) -> list[nn.Module] | None:
    """The layer as a chain of one, or of none where it does nothing; None if it is not understood."""
    kind = next((kind for kind in (*IDENTITY, *LINEAR, *SCALE, *MONOTONE) if _plain(layer, kind)), None)
    if kind is None or getattr(layer, "return_indices", False) or getattr(layer, "negative_slope", 0) < 0:
        return None
    if kind in SCALE and kind is not Normalize and getattr(layer, "running_mean", None) is None:
        return None
    try:
        copied = copy.deepcopy(layer)
    except RuntimeError:  # a weight that is computed anew by a hook cannot be copied
        return None
    copied = (copied.cpu() if device_of(copied).type == "mps" else copied).double().eval()  # which has no float64
    if not all(_hands_on(copied, hook) for hook in copied._forward_pre_hooks.values()):
        return None
    return [] if kind in IDENTITY else [copied]


def _plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer computes what its kind does: no `forward` of its own, nothing done to its outputs."""
    if not isinstance(layer, kind) or type(layer).forward is not kind.forward or "forward" in vars(layer):
        return False
    return not (layer._forward_hooks or layer._forward_pre_hooks_with_kwargs)


def _hands_on(layer: nn.Module, hook: Callable[..., object]) -> bool:
    """Whether a hook in front of a linear layer hands on its inputs as they are, as dropout does in evaluation."""
    if not isinstance(layer, LINEAR):
        return False
    size = layer.weight.shape[1] * getattr(layer, "groups", 1)
    probe = torch.linspace(-100, 100, 2 * size * 9**3, dtype=torch.float64, device=layer.weight.device)
    shape = (2, size) if isinstance(layer, nn.Linear) else (2, size, *(9,) * (layer.weight.ndim - 2))
    probe = probe[torch.arange(math.prod(shape)) * 7919 % len(probe)].reshape(shape)
    with torch.no_grad():
        given = hook(layer, (probe.clone(),))
    return isinstance(given, tuple) and len(given) == 1 and torch.equal(given[0], probe)
