"""How every attack is run: checked, in batches, and without a trace in the model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..inference import untraced
from ..pooling import swift_pools
from ..threat import ThreatModel
from .ladder import Ladder
from .points import Points
from .siblings import Siblings

BATCH = 1000


def attacked(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    attack: Callable[[Points], Tensor],
    *,
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return `attack(points)` of all points, with `model` in evaluation mode and untraced.

    Args:
        model: the network under attack; whatever the attack does to its modes, gradients or buffers is undone.
        x: clean images `(n, *shape)`, floats in the box of `threat`.
        y: int64 labels `(n,)`.
        threat: what the attack may do; eps 0 returns `x` without asking the attack.
        attack: from points to images of the same shape; it asks about no more than `batch_size` at once.
        seed: decides what is random; an int64 tensor `(n,)` where points differ in it.
        samples: a number for each sample, int64 `(n,)`, that keys its randomness; default 0, 1, 2 ...
        batch_size: only checked here.

    Raises:
        UsageError: for images outside the box, labels that do not fit, or a batch size below 1.
    """
    check_points(x, y, threat, batch_size)
    if samples is None:
        samples = torch.arange(len(x), device=x.device)
    elif samples.dtype != torch.int64 or samples.shape != y.shape:
        raise UsageError(f"samples must be int64 of shape {tuple(y.shape)}, got {samples.dtype} {tuple(samples.shape)}")
    if isinstance(seed, Tensor):
        seed = seed.to(x.device)
    with torch.inference_mode(False), untraced(model), swift_pools(model):
        # Copies: autograd cannot save tensors that were made in inference mode, and the caller's are never returned.
        x, y, samples = x.detach().clone(), y.clone(), samples.to(x.device, copy=True)
        if threat.eps == 0 or not len(x):
            return x
        climbed = None if isinstance(model, Siblings) else Ladder.of(model, x)
        return attack(Points(climbed or model, x, y, seed, samples)).detach()


def in_batches(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    attack: Callable[[Points], Tensor],
    *,
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return `attack(points)` over batches of at most `batch_size` points: `attacked`, for an attack of one pass.

    An attack that works on what is left, again and again, takes all points at once (`attacked`) and splits what is
    left into batches itself, so that the few that are left of many batches are one batch.
    """

    def parts(points: Points) -> Tensor:
        return torch.cat([attack(part) for part in points.split(batch_size)])

    return attacked(model, x, y, threat, parts, seed=seed, samples=samples, batch_size=batch_size)


def check_points(x: Tensor, y: Tensor, threat: ThreatModel, batch_size: int) -> None:
    """Raise a UsageError unless these points can be attacked: images in the box, a label each, a batch size."""
    for what, given in (("images", x), ("labels", y)):
        if not isinstance(given, Tensor):
            raise UsageError(f"{what} must be a torch.Tensor, got {type(given).__name__}; see torch.as_tensor")
    if x.is_floating_point() and (unknown := x.isnan()).any():
        at = unknown.reshape(len(x), -1).any(1).nonzero().squeeze(1)
        raise UsageError(f"{len(at)} of {len(x)} images hold NaN, the first is image {int(at[0])}; leave them out")
    threat.check(x)
    if y.dtype != torch.int64 or y.shape != x.shape[:1]:
        raise UsageError(f"labels must be int64 of shape {tuple(x.shape[:1])}, got {y.dtype} {tuple(y.shape)}")
    if batch_size < 1:
        raise UsageError(f"batch size must be at least 1, got {batch_size}")
