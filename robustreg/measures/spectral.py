"""How much each layer can stretch a change of what comes in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..inference import untraced
from ..noise import Rng
from .measure import Measure
from .once import once
from .subject import Subject

CONVOLUTION = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
EXACT = 512  # rows or columns up to which all singular values are computed
STEPS, TOLERANCE = 200, 1e-5


def spectral_norms(model: nn.Module, x: Tensor) -> dict[str, float]:
    """Return the largest singular value of every linear and convolution layer, by name, without its bias.

    A convolution is taken as the linear map it is on images of the size that reach it, padding and stride included,
    and measured by power iteration; its reshaped kernel would say something else.

    Args:
        model: left as it was.
        x: one image or more `(n, *shape)`, to see which sizes reach the convolutions; on the device of the model.

    Miyato et al, Spectral normalization for generative adversarial networks, 2018; of convolutions: Gouk et al,
    Regularisation of neural networks by enforcing Lipschitz continuity, 2021.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def seen(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(layer: nn.Module, inputs: Any) -> None:
            shapes[name] = tuple(inputs[0].shape[1:])

        return hook

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, *CONVOLUTION))}
    handles = [layer.register_forward_pre_hook(seen(name)) for name, layer in layers.items()]
    try:
        with untraced(model), torch.no_grad():
            model(x[:1])
    finally:
        for handle in handles:
            handle.remove()
    return {name: _norm(layers[name], shape) for name, shape in shapes.items()}


def _norm(layer: nn.Module, shape: tuple[int, ...]) -> float:
    assert isinstance(layer.weight, Tensor)
    weight = layer.weight.detach()
    if isinstance(layer, CONVOLUTION):
        convolve = layer._conv_forward
        return _power(lambda v: convolve(v, weight, None), (1, *shape), weight)
    if min(weight.shape) <= EXACT:
        return float(torch.linalg.matrix_norm(weight.double(), 2))
    return _power(lambda v: v @ weight.T, (1, weight.shape[1]), weight)


def _power(linear: Callable[[Tensor], Tensor], shape: tuple[int, ...], like: Tensor) -> float:
    """The largest singular value of a linear map, from below, by steps along its transpose times itself."""
    v = Rng(0, like.device).normal(*shape).to(like.dtype)
    found = 0.0
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(STEPS):
            v = (v / torch.linalg.vector_norm(v)).detach().requires_grad_()
            out = linear(v)
            before, found = found, float(torch.linalg.vector_norm(out.detach()))
            if not found or abs(found - before) < TOLERANCE * found:
                break
            (v,) = torch.autograd.grad(out, v, out.detach())
    return found


@once
def _layers(subject: Subject) -> dict[str, float] | None:
    test = subject.splits.test
    if not len(test):
        return None
    return spectral_norms(subject.model, next(test.batches(None, 1, subject.device))[0]) or None


def _product(subject: Subject) -> float | None:
    norms = _layers(subject)
    return None if norms is None else math.prod(norms.values())


MEASURES = (
    Measure(
        "spectral_norms",
        _layers,
        None,
        "Largest singular value of each linear and convolution layer, by its name.",
    ),
    Measure(
        "spectral_product",
        _product,
        None,
        "Product of the spectral norms: for a plain chain of layers that stretch no more than ReLU, a bound on how far"
        " the logits move, in l2, per unit of change after normalization.",
    ),
)
