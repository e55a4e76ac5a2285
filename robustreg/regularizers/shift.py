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
    height, width = x.shape[2:]
    down = torch.arange(height, device=x.device) - rows[:, None]
    right = torch.arange(width, device=x.device) - columns[:, None]
    row, column = down.clamp(0, height - 1), right.clamp(0, width - 1)
    source = (row * width)[:, :, None] + column[:, None]
    inside = (row == down)[:, :, None] & (column == right)[:, None]
    picked = x.flatten(2).gather(2, source.flatten(1)[:, None].expand(-1, x.shape[1], -1)).reshape(x.shape)
    return picked * inside[:, None].to(x.dtype)


class Shift(Regularizer):
    """Move each training image by up to `strength` pixels in each direction, filled with 0.

    Not label-preserving where position carries the class. Expected: clean accuracy up on images with room around
    the object, memorization down a lot, adversarial accuracy down.
    Simard et al, Best practices for convolutional neural networks applied to visual document analysis, 2003.
    """

    name = "shift"
    kind = "augmentation"
    strength = Knob(1.0, high=64, symbol="pixels", doc="largest shift in pixels; fractions round down")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the moved images and their labels."""
        if x.ndim != 4:
            raise ValueError(f"{self.name} needs images (batch, channels, height, width), got {tuple(x.shape)}")
        reach = self.strength.floor()
        offsets = ((2 * reach + 1) * rng.uniform(2, len(x)) - reach).floor().to(torch.int64)
        return shift(x, offsets[0], offsets[1]), y
