"""Random mirror images."""

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer


class Flip(Regularizer):
    """Mirror each training image left to right with probability `strength`, upside down with `vertical`.

    Not label-preserving for digits, letters and anything with a handedness. Expected: clean accuracy up on natural
    images.
    Krizhevsky et al, ImageNet classification with deep convolutional neural networks, 2012.
    """

    name = "flip"
    kind = "augmentation"
    strength = Knob(0.5, high=1, symbol="p", doc="probability of a left-right mirror image")
    vertical = Knob(0.0, high=1, doc="probability of turning the image upside down; strength 0 turns it off too")

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        # A Python value, in which runs that train together agree, so that nobody draws noise that is not used.
        self.some_turn = bool(self.settings()["vertical"])

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the mirrored images and their labels."""
        if x.ndim != 4:
            raise ValueError(f"{self.name} needs images (batch, channels, height, width), got {tuple(x.shape)}")
        x = _mirrored(x, 3, rng.bernoulli(self.strength, len(x), 1, 1, 1))
        if self.some_turn:
            vertical = torch.where(self.strength > 0, self.vertical, 0)
            x = _mirrored(x, 2, rng.bernoulli(vertical, len(x), 1, 1, 1))
        return x, y


def _mirrored(x: Tensor, dimension: int, chosen: Tensor) -> Tensor:
    return torch.where(chosen, x.flip(dimension), x)
