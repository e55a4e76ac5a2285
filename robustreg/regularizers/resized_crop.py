"""Random parts of images, enlarged to the whole."""

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer, scaled
from .warp import check_images, sample


def resized_crop(x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Return a rectangle of each image enlarged to the size of the image, bilinearly.

    Args:
        x: `(batch, channels, rows, columns)`.
        top: `(batch,)` where it starts, in pixels; fractions too.
        left: `(batch,)`, the same.
        height: `(batch,)`, at least 1 and inside the image.
        width: `(batch,)`, the same.
    """
    places = []
    for size, start, extent in ((x.shape[2], top, height), (x.shape[3], left, width)):
        start, extent = start.to(x.dtype)[:, None], extent.to(x.dtype)[:, None]
        centres = (torch.arange(size, device=x.device, dtype=x.dtype) + 0.5) / size
        # Not past the middle of its outer pixels: nothing from outside the rectangle is seen.
        inside = (centres * extent - 0.5).clamp(min=0)
        places.append(start + torch.minimum(inside, extent - 1))
    rows, columns = places
    shape = (len(x), *x.shape[2:])
    return sample(x, rows[:, :, None].expand(shape), columns[:, None].expand(shape))


class ResizedCrop(Regularizer):
    """Learn from a random rectangle of each training image, at least 1 - `strength` of its area, enlarged to the whole.

    Formula: area uniform on [1 - strength, 1] of the image; width : height log-uniform on [1 / ratio, ratio]; sides cut
    to those of the image (the paper draws again); place uniform. At strength 0 the images are not resampled.

    Expected: clean accuracy up on natural images, memorization down a lot, robust accuracy down.
    Szegedy et al, Going deeper with convolutions, 2015 (a strength of 0.92).
    """

    name = "resized_crop"
    kind = "augmentation"
    strength = Knob(0.5, high=1, symbol="share", doc="largest share of the area that is cut away")
    ratio = Knob(4 / 3, low=1, high=10, doc="largest ratio of width to height, and of height to width")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the enlarged rectangles and the labels."""
        check_images(x, self.name)
        rows, columns = x.shape[2:]
        area, shape, top, left = rng.uniform(4, len(x)).to(x.dtype)
        side = (1 - scaled(self.strength, area)).sqrt()
        stretch = (self.ratio.to(x.dtype).log() * (shape - 0.5)).exp()  # of the width; the root of the ratio
        height = (rows * side / stretch).clamp(1, rows)
        width = (columns * side * stretch).clamp(1, columns)
        cut = resized_crop(x, top * (rows - height), left * (columns - width), height, width)
        return torch.where(self.strength == 0, x, cut), y
