"""Random shifts of images."""

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer


def shift(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return images moved down and right by whole pixels; what comes in from outside is 0.

    Args:
        x: `(batch, channels, height, width)`.
        rows: `(batch,)` integers; negative moves up.
        columns: `(batch,)` integers; negative moves left.
    """
    for dimension, amount in ((2, rows), (3, columns)):
        size = x.shape[dimension]
        shape = [len(x) if axis == 0 else size if axis == dimension else 1 for axis in range(4)]
        source = torch.arange(size, device=x.device) - amount[:, None]
        inside = (source >= 0) & (source < size)
        picked = x.gather(dimension, source.clamp(0, size - 1).reshape(shape).expand_as(x))
        x = picked * inside.reshape(shape).to(x.dtype)
    return x


class Shift(Regularizer):
    """Move each training image by up to `strength` pixels in each direction, filled with 0.

    Not label-preserving where position carries the class. Expected: clean accuracy up on images with room around
    the object, memorization down a lot, adversarial accuracy down.
    Simard et al, Best practices for convolutional neural networks applied to visual document analysis, 2003.
    """

    name = "shift"
    strength = Knob(1.0, high=64, symbol="pixels", doc="largest shift in pixels; fractions round down")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the moved images and their labels."""
        if x.ndim != 4:
            raise ValueError(f"{self.name} needs images (batch, channels, height, width), got {tuple(x.shape)}")
        reach = self.strength.floor()
        offsets = ((2 * reach + 1) * rng.uniform(2, len(x)) - reach).floor().to(torch.int64)
        return shift(x, offsets[0], offsets[1]), y
