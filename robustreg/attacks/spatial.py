"""Turned and shifted: the worst of a grid of small motions, tried one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..threat import ThreatModel
from .batching import BATCH, in_batches
from .gradients import outputs
from .losses import margin
from .points import Points
from .pursuit import Pursuit

ROTATIONS = (-30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0)


def spatial(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    rotations: Sequence[float] = ROTATIONS,
    shifts: Sequence[int] | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image the mildest motion of the grid that the model gets wrong, else that of largest margin loss.

    Every rotation is tried with every shift to the right and every shift down, small ones first, so the answer is
    exact for the grid and needs no gradients. A motion has no eps and lies in no l_p ball: this is not an `Attack`,
    and its accuracy does not compare with robust accuracy. Images the model already gets wrong are returned unchanged.

    Args:
        model: from `(n, channels, height, width)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images; the result has their type.
        y: int64 labels `(n,)`.
        rotations: degrees counter-clockwise around the centre, interpolated bilinearly.
        shifts: whole pixels, right and down; default all up to a tenth of the shorter side: 3 of 28 or 32 pixels, 1 of
            8. What comes in from outside is black, 0.
        batch_size: images at once.

    Raises:
        UsageError: for what is no image, images outside [0, 1], labels that do not fit, or a bad setting.

    Engstrom et al, Exploring the landscape of spatial robustness, 2019.
    """
    if x.ndim != 4:
        raise UsageError(f"images must be (n, channels, height, width) to be turned, got {tuple(x.shape)}")
    if shifts is None:
        most = max(1, round(min(x.shape[2:]) / 10))
        shifts = range(-most, most + 1)
    if not len(rotations) or not len(shifts) or any(shift != int(shift) for shift in shifts):
        raise UsageError(f"needs rotations in degrees and shifts in whole pixels, got {rotations} and {shifts}")
    if max(abs(shift) for shift in shifts) >= min(x.shape[2:]):
        raise UsageError(f"shifts must be smaller than the image, {x.shape[2]} x {x.shape[3]} pixels, got {shifts}")

    def attack(points: Points) -> Tensor:
        pursuit = Pursuit(points.x, broken=points.logits(batch_size).argmax(-1) != points.y)
        for rotation in sorted(rotations, key=abs):
            at = pursuit.left
            if not len(at):
                break
            left, border = points[at], max(abs(int(shift)) for shift in shifts)
            turned = rotated(left.x, rotation, border)
            for right, down in _mildest_first(shifts):
                image = _window(turned, points.x.shape, right, down)
                logits = outputs(left.model, image)
                keep = pursuit.record(at, image, margin(logits, left.y), logits.argmax(-1) != left.y)
                if len(keep) < len(at):
                    at, left, turned = at[keep], left[keep], turned[keep]
                    if not len(at):
                        break
        return pursuit.best

    anywhere = ThreatModel("linf", 1.0)
    return in_batches(model, x, y, anywhere, attack, batch_size=batch_size)


def rotated(x: Tensor, degrees: float, border: int = 0) -> Tensor:
    """Return images `(n, channels, height, width)` turned counter-clockwise around their centre, on a larger canvas.

    Args:
        x: images in [0, 1].
        degrees: 0 is exact, everything else interpolates bilinearly; outside is 0.
        border: pixels that the canvas is larger on each side.
    """
    x = F.pad(x, [border] * 4)
    if degrees == 0:
        return x
    height, width = x.shape[2:]
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    # grid_sample counts in half widths and half heights, so an angle in pixels is sheared in its units.
    turn = [[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]]
    theta = torch.tensor(turn, dtype=x.dtype, device=x.device).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False).clamp(0, 1)


def _mildest_first(shifts: Sequence[int]) -> list[tuple[int, int]]:
    pairs = [(int(right), int(down)) for right, down in product(shifts, shifts)]
    return sorted(pairs, key=lambda pair: (abs(pair[0]) + abs(pair[1]), pair))


def _window(canvas: Tensor, shape: torch.Size, right: int, down: int) -> Tensor:
    """The part of a canvas that shows the image moved right and down."""
    top = (canvas.shape[2] - shape[2]) // 2 - down
    left = (canvas.shape[3] - shape[3]) // 2 - right
    return canvas[:, :, top : top + shape[2], left : left + shape[3]]
