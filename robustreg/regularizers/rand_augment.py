"""RandAugment: a few random operations an image, all of one magnitude."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer
from .warp import check_images

STRONGEST = 30  # the last of the 31 magnitudes
SIGNED = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness")
UNSIGNED = ("identity", "posterize", "solarize", "auto_contrast", "equalize")
OPERATIONS = SIGNED + UNSIGNED

Operation = Callable[[Tensor], Tensor]


def operation(name: str, share: float, sign: float, size: tuple[int, int]) -> Operation:
    """Return an operation on uint8 images `(batch, 1 or 3, height, width)`, as torchvision computes it.

    Args:
        name: one of `OPERATIONS`.
        share: magnitude as a share of the strongest, in [0, 1].
        sign: 1 or -1, the direction of those in `SIGNED`.
        size: height and width of the images.
    """
    from torchvision.transforms.v2 import functional as tv

    amount = sign * share
    tilt = math.degrees(math.atan(0.3 * amount))
    right, down = (int(amount * length * 150 / 331) for length in size[::-1])

    def affine(right: int = 0, down: int = 0, tilt: tuple[float, float] = (0, 0)) -> Operation:
        center = [0.0, 0.0] if any(tilt) else None
        how = {"angle": 0.0, "translate": [right, down], "scale": 1.0, "shear": [*tilt], "center": center}
        return lambda x: tv.affine(x, **how)

    found: dict[str, Operation] = {
        "identity": lambda x: x,
        "shear_x": affine(tilt=(tilt, 0.0)),
        "shear_y": affine(tilt=(0.0, tilt)),
        "translate_x": affine(right=right),
        "translate_y": affine(down=down),
        "rotate": lambda x: tv.rotate(x, 30 * amount),
        "brightness": lambda x: tv.adjust_brightness(x, 1 + 0.9 * amount),
        "color": lambda x: tv.adjust_saturation(x, 1 + 0.9 * amount),
        "contrast": lambda x: tv.adjust_contrast(x, 1 + 0.9 * amount),
        "sharpness": lambda x: tv.adjust_sharpness(x, 1 + 0.9 * amount),
        "posterize": lambda x: tv.posterize(x, 8 - round(4 * share)),
        "solarize": lambda x: tv.solarize(x, 255 * (1 - share)),
        "auto_contrast": tv.autocontrast,
        "equalize": tv.equalize,
    }
    return found[name]


def augmented(x: Tensor, rng: Rng, *, magnitude: float, ops: int) -> Tensor:
    """Return uint8 images, each changed by `ops` operations of its own, one after the other.

    Args:
        x: uint8 `(batch, 1 or 3, height, width)`.
        rng: each image draws its operations, uniformly, and their signs.
        magnitude: in [0, 30].
        ops: operations an image, at least 0.
    """
    size, share = (x.shape[-2], x.shape[-1]), magnitude / STRONGEST
    which = rng.integers(2 * len(OPERATIONS), ops, len(x))  # an operation and a sign; where it has none, either
    for drawn in which:
        changed = x.clone()
        for choice in drawn.unique().tolist():
            at = (drawn == choice).nonzero().squeeze(1)
            name, sign = OPERATIONS[choice // 2], 1 - 2 * (choice % 2)
            changed[at] = operation(name, share, sign, size)(x[at])
        x = changed
    return x


class RandAugment(Regularizer):
    """Change each training image, anew each epoch, by `ops` operations drawn from 14, all of magnitude `strength`.

    The operations are torchvision's: identity, shear and translation in both directions, rotation, brightness, color,
    contrast, sharpness, posterize, solarize, auto-contrast and equalize; at magnitude 30 they reach a shear of 0.3, a
    shift of 45 % of the image, 30 degrees, factors of 1 +- 0.9, 4 bits, all pixels inverted. What comes in from outside
    is 0. They work on whole numbers from 0 to 255, to which pixels are rounded.

    Not label-preserving where position or brightness carries the class. Expected: clean accuracy up on natural images,
    up to down a little on digits; memorization down a lot; robust accuracy down.
    Cubuk et al, RandAugment: practical automated data augmentation with a reduced search space, 2020.
    """

    name = "rand_augment"
    kind = "augmentation"
    strength = Knob(9.0, high=STRONGEST, symbol="M", doc="magnitude of the operations, up to 30; 0 is off")
    ops = Knob(2, high=10, symbol="N", doc="operations an image, one after the other")

    @hookimpl
    def before_epoch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor] | None:
        """Return the changed images and their labels."""
        if not self.strength:
            return None
        check_images(x, self.name)
        if x.shape[1] not in (1, 3):
            raise ValueError(f"{self.name} needs gray or RGB images (1 or 3 channels), got {x.shape[1]} channels")
        images = x if x.dtype == torch.uint8 else (x * 255).round().to(torch.uint8)
        found = augmented(images, rng, magnitude=float(self.strength), ops=self.ops)
        if x.dtype == torch.uint8:
            return found, y
        return torch.where(found == images, x, found.to(x.dtype) / 255), y
