"""How every attack is run: checked, in batches, and without a trace in the model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..inference import untraced
from ..threat import ThreatModel

BATCH = 1000


def in_batches(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    attack: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return `attack(x, y, samples)` over batches of all points, with `model` in evaluation mode and untraced.

    Args:
        model: the network under attack; whatever the attack does to its modes, gradients or buffers is undone.
        x: clean images `(n, *shape)`, floats in the box of `threat`.
        y: int64 labels `(n,)`.
        threat: what the attack may do; eps 0 returns `x` without asking the attack.
        attack: from `(x, y, samples)` of one batch to images of the same shape.
        samples: a number for each sample, int64 `(n,)`, that keys its randomness; default 0, 1, 2 ...
        batch_size: points an attack sees at once.

    Raises:
        UsageError: for images outside the box, labels that do not fit, or a batch size below 1.
    """
    check_points(x, y, threat, batch_size)
    if samples is None:
        samples = torch.arange(len(x), device=x.device)
    elif samples.dtype != torch.int64 or samples.shape != y.shape:
        raise UsageError(f"samples must be int64 of shape {tuple(y.shape)}, got {samples.dtype} {tuple(samples.shape)}")
    with torch.inference_mode(False), untraced(model):
        # Copies: autograd cannot save tensors that were made in inference mode, and the caller's are never returned.
        x, y, samples = x.detach().clone(), y.clone(), samples.to(x.device, copy=True)
        if threat.eps == 0 or not len(x):
            return x
        parts = zip(x.split(batch_size), y.split(batch_size), samples.split(batch_size), strict=True)
        return torch.cat([attack(*part) for part in parts]).detach()


def check_points(x: Tensor, y: Tensor, threat: ThreatModel, batch_size: int) -> None:
    """Raise a UsageError unless these points can be attacked: images in the box, a label each, a batch size."""
    threat.check(x)
    if y.dtype != torch.int64 or y.shape != x.shape[:1]:
        raise UsageError(f"labels must be int64 of shape {tuple(x.shape[:1])}, got {y.dtype} {tuple(y.shape)}")
    if batch_size < 1:
        raise UsageError(f"batch size must be at least 1, got {batch_size}")
