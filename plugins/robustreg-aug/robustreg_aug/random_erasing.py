"""Rectangles of noise in the place of parts of images."""

import torch
from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl
from robustreg.noise import Rng
from robustreg.regularizers import box, check_images


def rectangles(shape: torch.Size, area: Tensor, aspect: Tensor, place: Tensor) -> Tensor:
    """Return where each image has its rectangle, bool `(batch, 1, rows, columns)`.

    Args:
        shape: of the images, `(batch, channels, rows, columns)`.
        area: `(batch,)`, as a share of the image.
        aspect: `(batch,)`, height by width; a side longer than the image's is cut to it.
        place: `(2, batch)` in [0, 1), where in the room there is for it.
    """
    rows, columns = shape[2:]
    pixels = area * rows * columns
    height = (pixels * aspect).sqrt().round().clamp(max=rows)
    width = (pixels / aspect).sqrt().round().clamp(max=columns)
    top, left = (place[0] * (rows - height + 1)).floor(), (place[1] * (columns - width + 1)).floor()
    return box(shape, top, left, height, width)


class RandomErasing(Regularizer):
    """Fill, with probability `strength`, a rectangle of a training image with uniform noise, pixel by pixel.

    Its area is uniform between 0.02 and `largest` of the image, the logarithm of its aspect between those of `aspect`
    and 1 / `aspect`, its place uniform among those inside the image. Where torchvision and the paper draw again until
    the rectangle fits, one that is too long is cut, so that all images take the same steps.

    Expected: clean accuracy up a little on natural images, 0 on digits; memorization down; robust accuracy hardly
    changed.
    Zhong et al, Random erasing data augmentation, 2020 (probability 0.5, areas 0.02 to 0.4, aspect 0.3).
    """

    name = "random_erasing"
    kind = "augmentation"
    strength = Knob(0.5, high=1, symbol="p", doc="probability of a rectangle in an image")
    largest = Knob(0.4, low=0.02, high=1, doc="largest area, as a share of the image")
    aspect = Knob(0.3, low=0.01, high=1, doc="smallest height by width; its inverse is the largest")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the images with rectangles in them, and their labels."""
        check_images(x, self.name)
        draws, count = rng.uniform(4, len(x)), len(x)
        area = 0.02 + (self.largest - 0.02) * draws[0]
        aspect = ((2 * draws[1] - 1) * self.aspect.log()).exp()
        chosen = rng.bernoulli(self.strength, count, 1, 1, 1)
        noise = rng.uniform(*x.shape).to(x.dtype)
        return torch.where(chosen & rectangles(x.shape, area, aspect, draws[2:]), noise, x), y
