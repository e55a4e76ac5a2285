"""Random crops of padded images."""

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer
from .shift import shift
from .warp import check_images

FILLS = ("reflect", "edge", "zero")


def crop(x: Tensor, down: Tensor, right: Tensor, fill: str = "reflect") -> Tensor:
    """Return windows of the size of the images, each moved over its padded image by whole pixels.

    Args:
        x: `(batch, channels, height, width)`.
        down: `(batch,)` integers, where the window starts; negative above the image.
        right: `(batch,)` integers; negative to the left of it.
        fill: what lies outside: `reflect` mirrors the image, without repeating its border; `edge` repeats the border;
            `zero` is 0.
    """
    if fill == "zero":
        return shift(x, -down, -right)
    height, width = x.shape[2:]
    row = _inside(torch.arange(height, device=x.device) + down[:, None], height, fill)
    column = _inside(torch.arange(width, device=x.device) + right[:, None], width, fill)
    source = ((row * width)[:, :, None] + column[:, None]).flatten(1)
    return x.flatten(2).gather(2, source[:, None].expand(-1, x.shape[1], -1)).reshape(x.shape)


def _inside(at: Tensor, size: int, fill: str) -> Tensor:
    if fill == "edge" or size == 1:
        return at.clamp(0, size - 1)
    at = at % (2 * size - 2)  # a mirror image of a mirror image is the image
    return torch.minimum(at, 2 * size - 2 - at)


class Crop(Regularizer):
    """Pad each training image by `strength` pixels on each side, and learn from a window of the old size drawn there.

    Formula: x'(p) = x(p + d), d uniform on the whole pixels from -strength to strength in both directions. With
    `fill=zero` it is the regularizer `shift`.

    Expected: clean accuracy up on natural images, down on images that are few pixels wide; memorization down a lot;
    robust accuracy down.
    Krizhevsky et al, ImageNet classification with deep convolutional neural networks, 2012; the paddings of 4 pixels
    that networks for 32 x 32 images are trained with: Lee et al, Deeply-supervised nets, 2015.
    """

    name = "crop"
    kind = "augmentation"
    strength = Knob(1.0, high=64, symbol="pixels", doc="width of the padding in pixels; fractions round down")
    fill = Knob("reflect", choices=FILLS, doc="what the padding holds: a mirror image, the border repeated, or 0")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the windows and their labels."""
        check_images(x, self.name)
        reach = self.strength.floor()
        offsets = ((2 * reach + 1) * rng.uniform(2, len(x)) - reach).floor().to(torch.int64)
        return crop(x, offsets[0], offsets[1], self.fill), y
