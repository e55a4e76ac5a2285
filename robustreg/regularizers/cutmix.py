"""CutMix: learning from images with a rectangle of another, and both labels."""

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer
from .cutout import box
from .warp import check_images


def cut_and_mix(x: Tensor, y: Tensor, inside: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """Return images with the partner's pixels `inside`, and labels mixed by the share of pixels that came from it.

    Args:
        x: `(batch, channels, rows, columns)`.
        y: `(batch, classes)` rows, or `(batch, outputs)` targets.
        inside: bool `(batch, 1, rows, columns)`.
        partner: `(batch,)` indices.
    """
    share = inside.flatten(1).to(y.dtype).mean(1)[:, None]
    return torch.where(inside, x[partner], x), y + share * (y[partner] - y)


class CutMix(Regularizer):
    """Put a rectangle of another image into each training image, and mix the labels by its area.

    Formula: the rectangle has sqrt(1 - s) of height and width, s from Beta(`strength`, `strength`), its middle anywhere
    in the image; what lies outside is cut off, and y' = (1 - a) y + a y_partner, where a is the share of pixels that
    did change hands. Each image has an s, a rectangle and a partner of its own (in the paper a batch has one s and one
    rectangle).

    Expected: clean accuracy up on natural images and the same on digits; memorization down a lot; robust accuracy up on
    digits, where FGSM says more.
    Yun et al, CutMix: regularization strategy to train strong classifiers with localizable features, 2019.
    """

    name = "cutmix"
    kind = "augmentation"
    strength = Knob(1.0, high=100, symbol="alpha", doc="both parameters of the Beta distribution of the kept area")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the patched images and their mixed labels."""
        check_images(x, self.name)
        rows, columns = x.shape[2:]
        kept = rng.symmetric_beta(self.strength, len(x))
        half = torch.where(self.strength == 0, 0, (1 - kept).sqrt() / 2)
        place = rng.uniform(2, len(x))
        row, column = (place[0] * rows).floor(), (place[1] * columns).floor()
        tall, wide = (half * rows).floor(), (half * columns).floor()
        inside = box(x.shape, row - tall, column - wide, 2 * tall, 2 * wide)
        return cut_and_mix(x, y, inside, rng.permutation(len(x)))
