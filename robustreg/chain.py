"""Chains of layers that K networks of one architecture go through at once, as each goes through its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .layers import Dropout, Normalize

# These do to a sample the same in whatever batch it comes, and have nothing to learn.
FIXED = (
    nn.Flatten, nn.Unflatten, nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU,
    nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.AvgPool2d, nn.MaxPool2d, Normalize,
)  # fmt: skip
MANY = 2**16  # weights of a layer, in all networks, from which its own derivative pays
NARROW = 16  # inputs or outputs, of fewer of which it would have other bits than torch.vmap gives it
DROPPING = (nn.Dropout, nn.AlphaDropout, Dropout)  # these do nothing in evaluation mode


@dataclass(frozen=True)
class Layer:
    """One layer of K networks: linear with K weights, or one function for all.

    Args:
        shared: what does to every row the same; None for a linear layer.
        weight: `(K, inputs, outputs)`.
        bias: `(K, 1, outputs)`.
    """

    shared: nn.Module | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None

    def of(self, owners: list[int]) -> Layer:
        """Return the layer of some of the networks, in ascending order."""
        if self.weight is None or len(owners) == len(self.weight):
            return self
        if owners[-1] - owners[0] == len(owners) - 1:  # neighbours: no copy
            part = slice(owners[0], owners[-1] + 1)
            return Layer(None, self.weight[part], None if self.bias is None else self.bias[part])
        at = torch.tensor(owners, device=self.weight.device)
        return Layer(None, self.weight[at], None if self.bias is None else self.bias[at])

    def one(self, owner: int) -> Layer:
        """Return the layer of one network: weight `(inputs, outputs)` and bias `(outputs,)`."""
        if self.weight is None:
            return self
        return Layer(None, self.weight[owner], None if self.bias is None else self.bias[owner, 0])


def through(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Return what K networks make of `(K, m, *shape)`: `(K, m, classes)`."""
    made_here, graph = False, torch.is_grad_enabled()
    for layer in layers:
        if layer.shared is not None:
            x = _shared(layer.shared, x, made_here)
            continue
        assert layer.weight is not None
        linear = _Linear.apply if graph and _pays(layer.weight) else _linear
        x, made_here = linear(x, layer.weight, layer.bias), True
    return x


def by_class(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Return what `through` returns, but for rounding, as `(K, classes, m)`; without a graph.

    A product that makes as few columns as there are classes takes up to four times as long as one with as few rows,
    and what is said of rows of a few numbers each several times as long as what is said of as few rows.
    """
    *before, last = layers
    if last.weight is None:
        return through(layers, x).transpose(1, 2)
    weight, x = last.weight.transpose(1, 2), through(before, x).transpose(1, 2)
    return torch.bmm(weight, x) if last.bias is None else torch.baddbmm(last.bias.transpose(1, 2), weight, x)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # With a bias the same sum, in the same order, as a linear layer's addmm: the same bits.
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)


def _pays(weight: Tensor) -> bool:
    return weight.requires_grad and weight.numel() >= MANY and min(weight.shape[1:]) >= NARROW


class _Linear(torch.autograd.Function):
    """A linear layer that learns, with a derivative that lies as the weights do.

    torch's own lies as the transposed weights, which the product is made with; putting it in order takes up to a
    seventh of a step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias = ctx.needs_input_grad
        return (
            torch.bmm(slope, weight.transpose(1, 2)) if by_x else None,
            torch.bmm(slope.transpose(1, 2), x).transpose(1, 2) if by_weight else None,
            slope.sum(1, keepdim=True) if by_bias else None,
        )


def _shared(layer: nn.Module, x: Tensor, made_here: bool) -> Tensor:
    """What a layer without weights makes of `x`: where the general way takes memory that it need not, in another."""
    if isinstance(layer, nn.ReLU) and made_here and not x.requires_grad:
        return x.relu_()
    if isinstance(layer, nn.Flatten) and layer.start_dim > 0:
        return x.flatten(layer.start_dim + 1, layer.end_dim + (layer.end_dim >= 0))
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def chain_of(models: Sequence[nn.Module], probe: Tensor) -> list[Layer] | None:
    """Return the layers that two or more networks have in common, with stacked weights; None where they do not fit.

    They fit when each is an `nn.Sequential`, nested too, of linear layers and of layers without weights (activations,
    flattening, pooling, dropout, `Normalize`) that have the same settings in all. And when the chain says of the
    images `probe`, `(K, m, *shape)`, what the networks say, with the same derivative: a layer may have hooks, as those
    that `dropout` puts in front of it, and what these do is not known. Convolutions do not pay: one grouped
    convolution is slower than one after the other.
    """
    walks = [_layers(model) for model in models]
    if len(walks) < 2 or any(walk is None or len(walk) != len(walks[0] or ()) for walk in walks):
        return None
    found = [_joined(layers) for layers in zip(*(walk or () for walk in walks), strict=True)]
    layers = [layer for layer in found if layer is not None]
    if not layers or len(layers) < len(found):
        return None
    together = _said(lambda x: through(layers, x), probe)
    alone = _said(lambda x: torch.stack([model(part) for model, part in zip(models, x, strict=True)]), probe)
    fits = all(torch.allclose(one, other, 1e-4, 1e-6) for one, other in zip(together, alone, strict=True))
    return layers if fits else None


def learning_chain(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[str | nn.Module] | None:
    """Return the layers of a network as a chain for K networks like it to be trained in; None where they do not fit.

    A linear layer is given as its name, any other as itself. Layers that draw noise do not fit, nor those with hooks.

    Args:
        network: one of them.
        tensors: `(K, ...)` values of every parameter and buffer, by name.
    """
    names = {layer: name for name, layer in network.named_modules()}
    layers = None if any(one._forward_pre_hooks for one in names) else _layers(network)
    for layer in layers or ():
        if type(layer) in DROPPING or any(layer.children()):
            return None
        buffers = [tensors[f"{names[layer]}.{name}"] for name, _ in layer.named_buffers()]
        if any(not torch.equal(rows, rows[:1].expand_as(rows)) for rows in buffers):  # the layer acts for all
            return None
    return [names[layer] if isinstance(layer, nn.Linear) else layer for layer in layers] if layers else None


def bound(chain: Sequence[str | nn.Module], tensors: Mapping[str, Tensor]) -> list[Layer]:
    """Return the layers of a `learning_chain` with the weights that are in `tensors` now; autograd follows them."""
    return [
        Layer(layer)
        if isinstance(layer, nn.Module)
        else Layer(
            None,
            tensors[f"{layer}.weight"].transpose(1, 2),
            tensors[f"{layer}.bias"].unsqueeze(1) if f"{layer}.bias" in tensors else None,
        )
        for layer in chain
    ]


def _said(network: Callable[[Tensor], Tensor], probe: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs, and the derivative of their sum, each weighted by another number."""
    with torch.enable_grad():
        probe = probe.detach().clone().requires_grad_()
        logits = network(probe)
        weights = torch.linspace(-1, 2, logits.shape[-1], dtype=logits.dtype, device=logits.device)
        (slope,) = torch.autograd.grad((logits * weights).sum(), probe, materialize_grads=True, allow_unused=True)
    return logits.detach(), slope


def _layers(model: nn.Module) -> list[nn.Module] | None:
    hooks = (model._forward_hooks, model._forward_pre_hooks_with_kwargs, model._backward_hooks)
    if any(hooks) or model._backward_pre_hooks or "forward" in vars(model):
        return None
    if type(model) is not nn.Sequential:
        return [model] if type(model) in (nn.Linear, *FIXED, *DROPPING) else None
    found: list[nn.Module] = []
    for child in model:
        layers = _layers(child)
        if layers is None:
            return None
        found += layers
    return found


def _joined(layers: Sequence[nn.Module]) -> Layer | None:
    first = layers[0]
    if any(type(layer) is not type(first) for layer in layers):
        return None
    if not isinstance(first, nn.Linear):
        return Layer(first) if all(_alike(first, layer) for layer in layers[1:]) else None
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    kinds = {(layer.weight.shape, layer.weight.dtype, layer.weight.device, layer.bias is None) for layer in linear}
    if len(kinds) > 1:
        return None
    # Stacked as they are and seen transposed, as a linear layer does it.
    weight = torch.stack([layer.weight.detach() for layer in linear]).transpose(1, 2)
    bias = None if first.bias is None else torch.stack([layer.bias.detach() for layer in linear]).unsqueeze(1)
    return Layer(None, weight, bias)


def _alike(first: nn.Module, other: nn.Module) -> bool:
    knobs = [{name: value for name, value in vars(layer).items() if name[0] != "_"} for layer in (first, other)]
    for layer_knobs in knobs:
        layer_knobs.pop("training", None)
    if isinstance(first, Dropout | nn.Dropout):  # nothing in evaluation mode, whatever its share
        return True
    before, after = dict(first.named_buffers()), dict(other.named_buffers())
    return knobs[0] == knobs[1] and all(torch.equal(before[name], after[name]) for name in before)
