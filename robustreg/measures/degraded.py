"""Images made worse as cameras and weather make them worse: in code, in pixel space, at five severities.

Every corruption takes images `(n, C, H, W)` in [0, 1], a severity from 0 (the images themselves) to 5, and a generator,
and returns images of the same shape in [0, 1]. Equal generators draw equal noise, places and directions at every
severity, so a higher one is the same damage, further on. Lengths are shares of the shorter side, so that they mean
the same on 8 x 8 and on 224 x 224 pixels.

After Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions and perturbations, 2019;
the levels are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..inference import untraced
from ..noise import Key, Rng, fold

SEVERITIES = (1, 2, 3, 4, 5)
Degrade = Callable[[Tensor, int, Rng], Tensor]

# The knob of each corruption at severity 0, 1, ... 5.
LEVELS: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.0, 0.05, 0.10, 0.15, 0.20, 0.30),  # standard deviation
    "shot_noise": (0.0, 1 / 100, 1 / 50, 1 / 25, 1 / 12, 1 / 6),  # 1 / photons of a white pixel
    "impulse_noise": (0.0, 0.02, 0.05, 0.10, 0.17, 0.25),  # share of pixels that become black or white
    "blur": (0.0, 0.03, 0.05, 0.07, 0.10, 0.14),  # standard deviation of the kernel, by the shorter side
    "brightness": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),  # added
    "contrast": (1.0, 0.75, 0.5, 0.35, 0.2, 0.1),  # factor on the distance from the image's mean
    "translate": (0.0, 0.04, 0.08, 0.12, 0.16, 0.20),  # length of the shift, by the shorter side
    "rotate": (0.0, 6.0, 12.0, 18.0, 25.0, 35.0),  # degrees, to either side
    "occlusion": (0.0, 0.15, 0.25, 0.35, 0.45, 0.55),  # side of a grey square, by the shorter side
}


def gaussian_noise(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Add normal noise to every value."""
    return (x + LEVELS["gaussian_noise"][severity] * rng.normal(*x.shape)).clamp_(0, 1)


def shot_noise(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Add the noise of counting photons, in its normal limit: the variance grows with the brightness."""
    return (x + (x * LEVELS["shot_noise"][severity]).sqrt() * rng.normal(*x.shape)).clamp_(0, 1)


def impulse_noise(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Turn some values black and as many white."""
    u, half = rng.uniform(*x.shape), LEVELS["impulse_noise"][severity] / 2
    return torch.where(u < half, torch.zeros_like(x), torch.where(u >= 1 - half, torch.ones_like(x), x))


def blur(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Smooth with a normal kernel of three standard deviations to each side; the border continues."""
    sigma = LEVELS["blur"][severity] * min(x.shape[-2:])
    radius = math.ceil(3 * sigma)
    if not radius:
        return x.clone()
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype) / sigma) ** 2)
    weights = weights / weights.sum()
    planes = x.reshape(-1, 1, *x.shape[-2:])
    for kernel, pad in (
        (weights.reshape(1, 1, -1, 1), (0, 0, radius, radius)),
        (weights.reshape(1, 1, 1, -1), (radius, radius, 0, 0)),
    ):
        planes = F.conv2d(F.pad(planes, pad, mode="replicate"), kernel)
    return planes.reshape(x.shape).clamp_(0, 1)


def brightness(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Add light."""
    return (x + LEVELS["brightness"][severity]).clamp_(0, 1)


def contrast(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Draw every value towards the mean of its image."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(x), x, LEVELS["contrast"][severity]).clamp_(0, 1)


def translate(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Shift each image in a direction of its own, with black behind it."""
    length = LEVELS["translate"][severity] * min(x.shape[-2:])
    angle = 2 * math.pi * rng.uniform(len(x)).to(x.dtype)
    still = torch.zeros(len(x), device=x.device, dtype=x.dtype)
    return _moved(x, still, length * angle.cos(), length * angle.sin(), severity)


def rotate(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Turn each image to a side of its own, with black behind it."""
    side = 2 * rng.integers(2, len(x)).to(x.dtype) - 1
    angle = side * math.radians(LEVELS["rotate"][severity])
    return _moved(x, angle, torch.zeros_like(angle), torch.zeros_like(angle), severity)


def occlusion(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Cover a square of each image, wherever its centre falls, with mid-grey; pixels on its edge in part."""
    half = LEVELS["occlusion"][severity] * min(x.shape[-2:]) / 2
    sides = []
    for size in x.shape[-2:]:
        centre = (size * rng.uniform(len(x), 1).to(x.dtype)).floor() + 0.5
        start = torch.arange(size, device=x.device, dtype=x.dtype)
        end = torch.minimum(start + 1, centre + half)
        sides.append((end - torch.maximum(start, centre - half)).clamp_(0, 1))
    covered = sides[0][:, None, :, None] * sides[1][:, None, None, :]
    return x + covered * (0.5 - x)


def _moved(x: Tensor, angle: Tensor, right: Tensor, down: Tensor, severity: int) -> Tensor:
    """The images turned by `angle` and shifted by pixels, interpolated linearly."""
    if not severity:
        return x.clone()
    height, width = x.shape[-2:]
    cos, sin = angle.cos(), angle.sin()
    # The grid counts from -1 to 1 on both sides, so a turn of pixels is stretched by the shape.
    rows = (
        torch.stack((cos, -sin * height / width, -2 * right / width), -1),
        torch.stack((sin * width / height, cos, -2 * down / height), -1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False).clamp_(0, 1)


CORRUPTIONS: dict[str, Degrade] = {
    kind.__name__: kind
    for kind in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        blur,
        brightness,
        contrast,
        translate,
        rotate,
        occlusion,
    )
}


def accuracy_on_degraded(model: nn.Module, x: Tensor, y: Tensor, key: Key) -> dict[str, float]:
    """Return for each corruption the accuracy of `model`, left as it was, averaged over the severities 1 to 5.

    Args:
        model: from `(n, C, H, W)` to `(n, classes)` logits.
        x: images `(n, C, H, W)` in [0, 1], n at least 1, on the device of the model.
        y: int64 labels `(n,)`.
        key: decides the noise.
    """
    found = {}
    with torch.inference_mode(), untraced(model):
        for name, degrade in CORRUPTIONS.items():
            noise = fold(key, name)
            right = [model(degrade(x, severity, Rng(noise, x.device))).argmax(-1) == y for severity in SEVERITIES]
            found[name] = float(torch.stack(right).double().mean())
    return found
