"""Random rotations of images."""

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer, scaled
from .warp import check_images, warp


def rotate(x: Tensor, degrees: Tensor) -> Tensor:
    """Return images turned clockwise around their middle, sampled bilinearly; what comes in from outside is 0.

    Args:
        x: `(batch, channels, height, width)`.
        degrees: `(batch,)`.
    """
    angle = degrees.to(x.dtype).deg2rad()
    cosine, sine = angle.cos(), angle.sin()
    matrix = torch.stack((torch.stack((cosine, sine)), torch.stack((-sine, cosine))))
    return warp(x, matrix, torch.zeros_like(angle), torch.zeros_like(angle))


class Rotate(Regularizer):
    """Turn each training image by an angle drawn uniformly from -`strength` to `strength` degrees.

    Formula: x'(p) = x(R(-angle) p), p from the middle of the image, bilinear between pixels, 0 outside. Not
    label-preserving at large angles (6 and 9). At strength 0 the images are not resampled.

    Expected: clean accuracy the same or up, memorization down, robust accuracy hardly changed.
    Simard et al, Best practices for convolutional neural networks applied to visual document analysis, 2003.
    """

    name = "rotate"
    kind = "augmentation"
    strength = Knob(10.0, high=180, symbol="degrees", doc="largest angle in degrees, in either direction")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the turned images and their labels."""
        check_images(x, self.name)
        angle = scaled(self.strength, 2 * rng.uniform(len(x)).to(x.dtype) - 1)
        return torch.where(self.strength == 0, x, rotate(x, angle)), y
