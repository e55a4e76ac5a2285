"""Random affine maps of images."""

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer
from .warp import check_images, warp


def affine(x: Tensor, degrees: Tensor, zoom: Tensor, shear: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Return images sheared, zoomed, turned around their middle and shifted; what comes in from outside is 0.

    Args:
        x: `(batch, channels, height, width)`.
        degrees: `(batch,)`, clockwise.
        zoom: `(batch,)` factors of size, positive.
        shear: `(batch,)` degrees of a shear along the rows.
        right: `(batch,)` pixels, fractions too.
        down: `(batch,)` pixels.
    """
    angle, slope = degrees.to(x.dtype).deg2rad(), shear.to(x.dtype).deg2rad().tan()
    cosine, sine = angle.cos(), angle.sin()
    first, second = (cosine - sine * slope, sine + cosine * slope), (-sine, cosine)
    matrix = torch.stack([torch.stack(line) for line in (first, second)]) / zoom.to(x.dtype)
    return warp(x, matrix, right.to(x.dtype), down.to(x.dtype))


class Affine(Regularizer):
    """Turn, shift, zoom and shear each training image by amounts drawn for it, up to `strength` times those named.

    Formula: x'(p) = x(A**-1 (p - t)), p from the middle of the image, bilinear between pixels, 0 outside. Angle, shift
    and shear are uniform up to their limit in either direction; the zoom is log-uniform from 1 / (1 + limit) to
    1 + limit. At strength 0 the images are not resampled.

    Expected: clean accuracy the same or up, memorization down a lot, robust accuracy down a little, as with `shift`.
    Simard et al, Best practices for convolutional neural networks applied to visual document analysis, 2003.
    """

    name = "affine"
    kind = "augmentation"
    strength = Knob(1.0, high=10, symbol="size", doc="factor of all the limits below")
    degrees = Knob(10.0, high=180, doc="largest angle in degrees")
    translate = Knob(0.1, high=1, doc="largest shift, as a share of height and width")
    zoom = Knob(0.1, high=10, doc="largest zoom: 0.1 is 1.1 times as large, or as small")
    shear = Knob(5.0, high=8, doc="largest shear in degrees")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the moved images and their labels."""
        check_images(x, self.name)
        height, width = x.shape[2:]
        # One draw for all, used or not: with another limit at 0, the others stay what they were.
        angle, right, down, zoom, shear = 2 * rng.uniform(5, len(x)).to(x.dtype) - 1
        size = self.strength.to(x.dtype)
        degrees, translate, larger, sheared = (
            size * limit.to(x.dtype) for limit in (self.degrees, self.translate, self.zoom, self.shear)
        )
        factor = (larger.log1p() * zoom).exp()
        shifts = translate * width * right, translate * height * down
        moved = affine(x, degrees * angle, factor, sheared * shear, *shifts)
        return torch.where(self.strength == 0, x, moved), y
