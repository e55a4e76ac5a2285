"""How much it takes: for each image the smallest eps at which an attack breaks it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..inference import untraced
from ..threat import ThreatModel
from .batching import BATCH, check_points
from .gradients import outputs
from .pgd import pgd


def minimal_eps(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    attack: Callable[..., Tensor] = pgd,
    norm: str = "linf",
    high: float = 1.0,
    tolerance: float = 1e-3,
    seed: int = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image the smallest eps at which `attack` breaks it, `(n,)` of the type of `x`, in pixel units.

    Bisection on the grid of multiples of `tolerance` up to `high`, the same for all images, so that those that stand
    at the same eps are attacked together: about log2(high / tolerance) attacks an image. The attack broke the image
    at the eps returned and did not at the next smaller one of the grid. So it is an upper bound of the distance to
    the nearest wrong image: a stronger attack returns less.

    0 for images that are wrong already; inf for those that nothing broke up to `high`: larger than `high` is all that
    is known of them, so take medians, or the mean of `minimal_eps(...).clamp(max=high)`.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, floats in [0, 1].
        y: int64 labels `(n,)`.
        attack: an `Attack`, or a function like `pgd`. What it returns is classified again here.
        norm: "linf" or "l2".
        high: the largest eps that is tried, in pixel units.
        tolerance: the step of the grid in pixel units; `high` is on the grid, so the step may be a little smaller.
        seed: decides what is random in the attack.
        samples: a number for each sample, int64 `(n,)`, that keys its randomness; default 0, 1, 2 ...
        batch_size: images at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, or a bad setting.

    Carlini et al, On evaluating adversarial robustness, 2019 (report the distribution of minimal perturbations).
    """
    threat = ThreatModel(norm, high)
    check_points(x, y, threat, batch_size)
    if not 0 < tolerance <= high:
        raise UsageError(f"tolerance must be above 0 and at most high, {high:g}, got {tolerance}")
    levels = math.ceil(high / tolerance * (1 - 1e-12))
    numbers = torch.arange(len(x), device=x.device) if samples is None else samples.to(x.device)
    if numbers.shape != y.shape:
        raise UsageError(f"samples must be int64 of shape {tuple(y.shape)}, got {tuple(numbers.shape)}")
    with torch.inference_mode(False), untraced(model):
        x, y, numbers = x.detach().clone(), y.clone(), numbers.clone()
        # Level k is high * k / levels: the attack failed at `below`, and won at `found`, which starts past the end.
        below = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        found = torch.where(misclassified(model, x, y, batch_size), 0, levels + 1)
        while len(left := (found - below > 1).nonzero().squeeze(1)):
            middle = (below[left] + found[left]) // 2
            for level in middle.unique().tolist():
                for at in left[middle == level].split(batch_size):
                    eps = high * level / levels
                    moved = attack(model, x[at], y[at], eps=eps, norm=norm, seed=seed, samples=numbers[at])
                    won = misclassified(model, moved, y[at], batch_size)
                    found[at[won]] = level
                    below[at[~won]] = level
    return (found.to(x.dtype) * high / levels).where(found <= levels, torch.inf)


def lengths(moved: Tensor, x: Tensor, norm: str) -> Tensor:
    """Return how far each image of `moved` is from that of `x` in a norm, `(n,)`: "linf" or "l2"."""
    change = (moved - x).reshape(len(x), math.prod(x.shape[1:]))
    return torch.linalg.vector_norm(change, ord=math.inf if norm == "linf" else 2, dim=1)


def misclassified(model: nn.Module, x: Tensor, y: Tensor, batch_size: int) -> Tensor:
    """Return which images the model gets wrong, `(n,)` booleans."""
    parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
    return torch.cat([outputs(model, *part).argmax(-1) != part[1] for part in parts] if len(x) else [y.bool()])
