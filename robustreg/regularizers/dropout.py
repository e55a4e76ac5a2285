"""Dropout layers put into any model."""

import torch
from torch import Tensor, nn

from .. import layers
from ..errors import UsageError
from ..hookspecs import hookimpl
from ..regularizer import Knob, Regularizer

LINEAR = (nn.Linear,)
CONVOLUTION = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Dropout(Regularizer):
    """Drop each input of the hidden layers with probability `strength` while training.

    A dropout layer is put in front of every linear layer (and, with `layers=all`, every convolution) except the first
    weighted layer of the network; `input` drops pixels in front of that one. Parameter names do not change.

    Expected: clean accuracy up a little, memorization down a lot; FGSM flatters it.
    Srivastava et al, Dropout: a simple way to prevent neural networks from overfitting, 2014.
    """

    name = "dropout"
    kind = "network"
    strength = Knob(0.5, high=0.99, symbol="p", doc="probability of dropping a hidden unit")
    input = Knob(0.0, high=0.99, doc="probability of dropping a pixel; strength 0 turns it off too")
    layers = Knob("linear", choices=("linear", "all"), doc="in front of linear layers alone, or of convolutions too")

    @hookimpl
    def prepare(self, model: nn.Module) -> nn.Module:
        """Return the same network with dropout in front of its layers."""
        weighted = [module for module in model.modules() if isinstance(module, LINEAR + CONVOLUTION)]
        wanted = LINEAR if self.layers == "linear" else LINEAR + CONVOLUTION
        hidden = [module for module in weighted[1:] if isinstance(module, wanted)]
        if not hidden and not float(self.input):
            raise UsageError(f"{self.name}: this model has no hidden layer to drop units from; input= drops pixels")
        for module in hidden:
            _thin(module, self.strength)
        if float(self.input):
            _thin(weighted[0], torch.where(self.strength > 0, self.input, 0))
        return model


def _thin(module: nn.Module, p: Tensor) -> None:
    # A submodule and a hook, instead of a wrapper around the layer, keep parameter names and the layer's type.
    module.add_module("dropout", layers.Dropout(p))
    module.register_forward_pre_hook(_drop_inputs)


def _drop_inputs(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (module.get_submodule("dropout")(inputs[0]),)
