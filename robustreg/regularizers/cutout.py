"""Squares cut out of images."""

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer
from .warp import check_images


def box(shape: torch.Size, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Return where each image has its rectangle, bool `(batch, 1, rows, columns)`; what is outside is cut off.

    Args:
        shape: of the images, `(batch, channels, rows, columns)`.
        top: `(batch,)` whole numbers, the first row.
        left: `(batch,)`, the first column.
        height: a scalar or `(batch,)`, rows.
        width: a scalar or `(batch,)`, columns.
    """
    row = torch.arange(shape[2], device=top.device)
    column = torch.arange(shape[3], device=top.device)
    rows = (row >= top[:, None]) & (row < (top + height)[:, None])
    columns = (column >= left[:, None]) & (column < (left + width)[:, None])
    return (rows[:, :, None] & columns[:, None])[:, None]


class Cutout(Regularizer):
    """Blacken a square of each training image, its middle at any pixel, its side `strength` of the image's shorter one.

    Formula: x' = fill where |row - r| and |column - c| are within half a side, and x elsewhere; (r, c) uniform over the
    pixels, so that a part of the square may lie outside. The side is rounded to whole pixels.

    Expected: clean accuracy up a little on natural images, not on digits; memorization down a little; robust accuracy
    the same or up a little.
    DeVries and Taylor, Improved regularization of convolutional neural networks with cutout, 2017 (0.5 on CIFAR-10,
    0.25 on CIFAR-100).
    """

    name = "cutout"
    kind = "augmentation"
    strength = Knob(0.3, high=2, symbol="side", doc="side of the square, as a share of the image's shorter side")
    fill = Knob(0.0, high=1, doc="pixel value inside the square")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the images without their squares, and their labels."""
        check_images(x, self.name)
        rows, columns = x.shape[2:]
        side = (self.strength * min(rows, columns)).round()
        place = rng.uniform(2, len(x))
        top, left = (place[0] * rows).floor(), (place[1] * columns).floor()
        half = (side / 2).floor()
        square = box(x.shape, top - half, left - half, side, side)
        return torch.where(square, self.fill.to(x.dtype), x), y
