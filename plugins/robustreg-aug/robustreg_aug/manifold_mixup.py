"""Manifold mixup: blends of two images' activations, at a layer drawn anew each step."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from robustreg import Knob, Regularizer, hookimpl
from robustreg.errors import UsageError
from robustreg.noise import Rng
from robustreg.regularizers import mix

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def places(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules in front of which a network can be blended: weighted layers, and residual blocks as a whole.

    A residual block has a `downsample` or a `shortcut`, as torchvision's and this library's have: inside it the blend
    would miss the path around. The first module stands for the pixels.
    """
    for child in model.children():
        if isinstance(child, WEIGHTED) or hasattr(child, "downsample") or hasattr(child, "shortcut"):
            yield child
        else:
            yield from places(child)


class Blend(nn.Module):
    """Blends activations as batch() has said; leaves them as they are in evaluation mode, and between two steps."""

    how: tuple[Tensor, Tensor] | None = None  # the share of the partner, 0 in all places but one; and the partner

    def forward(self, x: Tensor) -> Tensor:
        """Return the blend of `(batch, *shape)` activations."""
        if self.how is None or not self.training or len(x) != len(self.how[1]):
            return x
        other, partner = self.how
        return x + other.to(x.dtype) * (x[partner] - x)


def _blend(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (module.get_submodule("manifold_mixup")(inputs[0]),)


class ManifoldMixup(Regularizer):
    """Learn from blends of the activations, and of the labels, of pairs of images, at one of the first `layers` places.

    Each step draws a place, the pixels or what goes into a later weighted layer or residual block, a share from
    Beta(`strength`, `strength`), and a partner for each image: h' = share * h + (1 - share) * h[partner], and y alike.
    All passes of the step in training mode are blended in the same way, so that an attack meets the same network; a
    pass with another number of images is not.

    Expected: clean accuracy up a little more than by mixup, smoother decisions and better calibration; memorization
    down a lot; robust accuracy up a little, FGSM flatters it.
    Verma et al, Manifold mixup: better representations by interpolating hidden states, 2019.
    """

    name = "manifold_mixup"
    kind = "augmentation"
    strength = Knob(2.0, high=100, symbol="alpha", doc="both parameters of the Beta distribution of the share")
    layers = Knob(3, low=1, high=1000, doc="places to draw from: 1 is the pixels alone, 3 two hidden layers too")

    @hookimpl(trylast=True)
    def prepare(self, model: nn.Module) -> None:
        """Put a blend in front of the first layers."""
        found = list(places(model))[: self.layers]
        if not found:
            raise UsageError(f"{self.name}: this model has no linear layer and no convolution")
        self._blends = []  # a list, so that they are modules of the network and not of this one
        for module in found:
            self._blends.append(Blend())
            module.add_module("manifold_mixup", self._blends[-1])
            module.register_forward_pre_hook(_blend)

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the images and the blended labels."""
        share = torch.where(self.strength == 0, 1, rng.symmetric_beta(self.strength))
        partner, place = rng.permutation(len(x)), rng.integers(len(self._blends))
        for at, blend in enumerate(self._blends):
            blend.how = torch.where(place == at, 1 - share, 0), partner
        return x, mix(x, y, share.to(y.dtype), partner)[1]

    @hookimpl(trylast=True)
    def penalty(self) -> None:
        """End the blending: the step is over."""
        for blend in self._blends:
            blend.how = None
