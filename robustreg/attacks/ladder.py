"""Linear layers with ReLU between them, climbed by hand: the products that autograd makes, without its graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..chain import DROPPING, Layer, learning_chain

_mask_ = torch.ops.aten.threshold_backward.grad_input  # what autograd makes of a ReLU, but in place

Back = Callable[[Tensor], Tensor]


def rungs_of(layers: Sequence[Layer], x: Tensor) -> list[Layer] | None:
    """Return the linear layers and ReLU, in order, that a chain is on flattened `x`; None where it is more than that.

    Layers are as they are in evaluation mode.
    """
    flat, rungs = x.ndim == 2, []
    for layer in layers:
        shared = layer.shared
        if isinstance(shared, nn.Flatten) and (shared.start_dim, shared.end_dim) == (1, -1):
            flat = True
        elif flat and type(shared) in (type(None), nn.ReLU):
            rungs.append(layer)
        elif type(shared) not in DROPPING:
            return None
    return None if torch.is_autocast_enabled(x.device.type) else rungs


def climb(rungs: Sequence[Layer], x: Tensor) -> tuple[Tensor, Back]:
    """Return the logits of `x`, and what takes their derivative, overwriting it, to that by `x`; once.

    Both have the bits of autograd, in three quarters of the time of a few hundred samples on a small network.

    Args:
        rungs: of one network, weights `(inputs, outputs)` and biases `(outputs,)`; or of K, as in a `Layer`.
        x: flat images, `(m, pixels)` or `(K, m, pixels)`; left as they were.
    """
    times, times_plus = (torch.mm, torch.addmm) if x.ndim == 2 else (torch.bmm, torch.baddbmm)
    passed: list[Tensor] = []
    logits = x
    for rung in rungs:
        if rung.weight is None:
            logits = F.relu(logits, inplace=logits is not x)
            passed.append(logits)
        elif rung.bias is None:
            logits = times(logits, rung.weight)
        else:
            logits = times_plus(rung.bias, logits, rung.weight)

    def back(slope: Tensor) -> Tensor:
        for rung in reversed(rungs):
            if rung.weight is None:
                _mask_(slope, passed.pop(), 0, grad_input=slope)
            else:
                slope = times(slope, rung.weight.mT)
        return slope

    return logits, back


class Ladder(nn.Module):
    """A network that is such a chain, with a short way to the derivative by its input. Answers as the network does.

    Args:
        network: the chain.
        rungs: of it.
    """

    def __init__(self, network: nn.Module, rungs: list[Layer]) -> None:
        super().__init__()
        self.network = network
        self.rungs = rungs

    @staticmethod
    def of(network: nn.Module, x: Tensor) -> Ladder | None:
        """Return the ladder of a network of images like `x`; None where it is no such chain or has hooks."""
        buffers = {name: buffer.unsqueeze(0) for name, buffer in network.named_buffers()}
        layers: list[Layer] = []
        for layer in learning_chain(network, buffers) or ():
            if isinstance(layer, str):
                linear = network.get_submodule(layer)
                assert isinstance(linear, nn.Linear)
                layers.append(Layer(None, linear.weight.t(), linear.bias))
            else:
                layers.append(Layer(layer))
        rungs = rungs_of(layers, x) if layers else None
        return None if rungs is None else Ladder(network, rungs)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the network says; without its calls where no graph is asked for."""
        answer: Tensor = self.network(x) if torch.is_grad_enabled() else self.climb(x)[0]
        return answer

    def climb(self, x: Tensor) -> tuple[Tensor, Back]:
        """Return the logits of images `x`, and the way back to their shape: as `climb` does of flat ones."""
        logits, back = climb(self.rungs, x.flatten(1))
        return logits, lambda slope: back(slope).view(x.shape)
