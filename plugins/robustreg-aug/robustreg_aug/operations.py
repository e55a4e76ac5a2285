"""The transformations that AugMix chains: of each image another one, all of it in `torch.vmap`.

Images are `(batch, channels, height, width)` floats in [0, 1]. `level` is `(batch,)`, in [0, 1]: how far to go of what
the paper calls level 10.
"""

import torch
from torch import Tensor

from robustreg.noise import Rng
from robustreg.regularizers import warp

TONES = 255
MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
NAMES = (*MOVES, "autocontrast", "equalize", "posterize", "solarize")


def move(x: Tensor, which: Tensor, level: Tensor) -> Tensor:
    """Return images turned clockwise by 30 degrees, sheared by 0.3 or shifted by a third of their side, times a level.

    Args:
        x: images.
        which: `(batch,)`, the position in `MOVES` of what is done to each.
        level: `(batch,)`, in [-1, 1].
    """
    angle, shear_x, shear_y, right, down = (torch.where(which == at, level, 0) for at in range(len(MOVES)))
    angle = angle * (torch.pi / 6)
    turn = torch.stack((torch.stack((angle.cos(), angle.sin())), torch.stack((-angle.sin(), angle.cos()))))
    none = torch.zeros_like(angle)
    shear = torch.stack((torch.stack((none, shear_x)), torch.stack((shear_y, none))))
    return warp(x, turn + 0.3 * shear, (right * (x.shape[3] / 3)).trunc(), (down * (x.shape[2] / 3)).trunc())


def autocontrast(x: Tensor) -> Tensor:
    """Return images of which each channel is stretched to fill [0, 1]; a channel of one value stays."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    flat = high == low
    return torch.where(flat, x, (x - low) / torch.where(flat, 1, high - low))


def equalize(x: Tensor) -> Tensor:
    """Return images of which each channel has all of 256 tones about equally often."""
    tone = (x * TONES).round().clamp(0, TONES).long().flatten(2)
    count = torch.zeros(*tone.shape[:2], TONES + 1, device=x.device, dtype=torch.int64)
    count = count.scatter_add(2, tone, torch.ones_like(tone))
    # A step takes the pixels that are not of the lightest tone, by 255.
    step = (tone.shape[2] - count.gather(2, tone.amax(2, keepdim=True))) // TONES
    below = count.cumsum(2) - count
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=TONES)
    found = table.gather(2, tone).to(x.dtype) / TONES
    return torch.where(step == 0, x.flatten(2), found).reshape(x.shape)


def posterize(x: Tensor, level: Tensor) -> Tensor:
    """Return images of 4 bits a pixel, or up to 4 fewer by the level, at least 0."""
    size = 2 ** (8 - (4 - (4 * level).floor()))[:, None, None, None]
    return ((x * TONES).round() / size).floor() * size / TONES


def solarize(x: Tensor, level: Tensor) -> Tensor:
    """Return images with their brightest pixels inverted: those of at least 1 - level."""
    threshold = 256 - (256 * level).floor()[:, None, None, None]
    return torch.where((x * TONES).round() >= threshold, 1 - x, x)


def transform(x: Tensor, which: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    """Return images to each of which one transformation is done.

    Args:
        x: images.
        which: `(batch,)`, positions in `NAMES`.
        level: `(batch,)`, in [0, 1].
        sign: `(batch,)`, 1 or -1: the direction of those that have two.
    """
    done = torch.where((which < len(MOVES))[:, None, None, None], move(x, which, level * sign), x)
    tones = (autocontrast(x), equalize(x), posterize(x, level), solarize(x, level))
    for at, other in enumerate(tones, len(MOVES)):
        done = torch.where((which == at)[:, None, None, None], other, done)
    return done


def chain(x: Tensor, severity: Tensor, rng: Rng, depth: int = -1) -> Tensor:
    """Return images after `depth` transformations each, or 1 to 3 if it is -1, drawn with their levels for each."""
    count = len(x)
    length = rng.integers(3, count) + 1 if depth < 0 else torch.full((count,), depth, device=x.device)
    for at in range(3 if depth < 0 else depth):
        which = rng.integers(len(NAMES), count)
        draws = rng.uniform(2, count).to(x.dtype)
        level = (0.1 + (severity.to(x.dtype) - 0.1) * draws[0]) / 10
        done = transform(x, which, level, torch.where(draws[1] < 0.5, 1, -1))
        x = torch.where((at < length)[:, None, None, None], done, x)
    return x
