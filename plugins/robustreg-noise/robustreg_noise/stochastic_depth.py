"""Stochastic depth: residual branches that are left out at random while training."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from robustreg import Knob, Regularizer, hookimpl
from robustreg.layers import Noisy

BRANCH_ENDS = ("bn3", "bn2", "conv3", "conv2")  # the last one that a block has ends its branch
PRE_ACTIVATED_ENDS = ("conv3", "conv2")


def branches(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the last module of each residual branch, in order.

    A residual block is a module with a `downsample` (torchvision's BasicBlock and Bottleneck, which end in a
    normalization) or a `shortcut` (pre-activated ones, as of `preact_resnet18`, which end in a convolution).
    """
    for module in model.modules():
        after = hasattr(module, "downsample")
        if after or hasattr(module, "shortcut"):
            ends = [name for name in (BRANCH_ENDS if after else PRE_ACTIVATED_ENDS) if hasattr(module, name)]
            if ends:
                yield module.get_submodule(ends[0])


class Skip(Noisy):
    """Multiplies a branch by 0 with probability `p` while training, image by image, and by 1 / (1 - p) otherwise."""

    p: Tensor

    def __init__(self, p: Tensor, each: str) -> None:
        super().__init__()
        self.each = each
        self.register_buffer("p", p.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch `(batch, *shape)`, or what is left of it."""
        if not self.training:
            return x
        keep = (1 - self.p).to(torch.float32)
        count = len(x) if self.each == "image" else 1
        drawn = self.rng(x.device).bernoulli(keep, count, *[1] * (x.ndim - 1), dtype=x.dtype)
        return x * (drawn / keep).to(x.dtype)


def _skip(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    skipped: Tensor = module.get_submodule("skip")(output)
    return skipped


class StochasticDepth(Regularizer):
    """Leave each residual branch out with a probability that grows evenly with depth, up to `strength` at the last.

    Formula: h_l = h_{l-1} + b_l / (1 - p_l) * f_l(h_{l-1}), b_l Bernoulli(1 - p_l), p_l = `strength` * l / L, drawn for
    each image or, as in the paper, for a whole batch (`each=batch`). The division makes up for what is missing while
    training, where the paper multiplies afterwards. For torchvision's ResNets and `preact_resnet18`; the layer is that
    of torchvision.ops.StochasticDepth with keyed noise. A network without residual blocks is left as it is, and then a
    run is the unregularized one.

    Expected: clean accuracy up in deep networks, down in those of few blocks; memorization down; robust accuracy
    hardly changed.
    Huang et al, Deep networks with stochastic depth, 2016 (0.5 at 50 blocks and more).
    """

    name = "stochastic_depth"
    kind = "network"
    strength = Knob(0.2, high=0.99, symbol="p", doc="probability that the last branch is left out")
    each = Knob("image", choices=("image", "batch"), doc="whether to draw for each image or for each batch")

    @hookimpl
    def prepare(self, model: nn.Module) -> None:
        """Put a layer that skips behind each residual branch."""
        ends = list(branches(model))
        for at, end in enumerate(ends, 1):
            end.add_module("skip", Skip(self.strength * at / len(ends), self.each))
            end.register_forward_hook(_skip)
