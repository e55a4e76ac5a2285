"""DeepFool: go straight to the nearest boundary of the linearized model, again and again."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..inference import untraced
from ..threat import ThreatModel
from .batching import BATCH, in_batches
from .gradients import outputs
from .losses import likeliest_wrong
from .minimal import lengths, misclassified
from .points import Points
from .siblings import rows


def deepfool(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "l2",
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image the first one that the model gets wrong on the way to its nearest boundary.

    From there it goes straight back towards the image while the model stays wrong. The way does not know eps; its end
    is projected into the threat model, so ask the model again there. On a linear model the end is the nearest wrong
    image, at most 1 + overshoot times as far. Pixels that stand at an end of the box and
    would leave it are taken out of the linearized model. Images the model already gets wrong are returned unchanged.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, floats in [0, 1]; the result has their type.
        y: int64 labels `(n,)`.
        eps: budget in pixel units.
        norm: "linf" or "l2": in which the nearest boundary is nearest.
        steps: linearizations.
        overshoot: how far each step goes beyond the boundary, relative to its length; positive.
        candidates: how many other classes are considered, the likeliest first.
        seed: taken by every attack; this one draws nothing.
        samples: taken by every attack; this one draws nothing.
        batch_size: images at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, or a bad setting.

    Moosavi-Dezfooli et al, DeepFool: a simple and accurate method to fool deep neural networks, 2016.
    """
    threat = ThreatModel(norm, eps)
    for name, value in (("steps", steps), ("candidates", candidates)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    if not 0 < overshoot < math.inf:
        raise UsageError(f"overshoot must be a positive share of a step, got {overshoot}")

    def attack(points: Points) -> Tensor:
        points.logits(batch_size)  # refuses what is no classifier, and labels that do not fit
        x, y, model = points.x, points.y, points.model
        end, at, image = x.clone(), torch.arange(len(x), device=x.device), x
        for _ in range(steps):
            logits, slope, length = nearest_boundary(model, image, y[at], threat, candidates)
            keep = (logits.argmax(-1) == y[at]).nonzero().squeeze(1)
            if not len(keep):
                break
            size = (1 + overshoot) * length[keep].reshape(-1, *[1] * (x.ndim - 1))
            image = threat.step(image[keep], slope[keep], size).clamp(threat.low, threat.high)
            at, model = at[keep], rows(model, keep)
            end[at] = image
        return threat.project(_back(points.model, x, y, end), x)

    return in_batches(model, x, y, threat, attack, seed=seed, samples=samples, batch_size=batch_size)


def deepfool_distance(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "l2",
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image how far DeepFool goes to break it, `(n,)` of the type of `x`, in pixel units.

    An upper bound of the distance to the nearest wrong image: 0 for images that are wrong already, inf for those that
    DeepFool breaks nowhere in the box. Args and errors are those of `deepfool`.
    """
    # No two images of the box are further apart than this.
    far = 1.0 if norm == "linf" else 1.0 + math.sqrt(math.prod(x.shape[1:]))
    knobs: dict[str, Any] = {"steps": steps, "overshoot": overshoot, "candidates": candidates}
    moved = deepfool(model, x, y, eps=far, norm=norm, batch_size=batch_size, **knobs)
    with torch.inference_mode(False), untraced(model):
        return lengths(moved, x, norm).where(misclassified(model, moved, y, batch_size), torch.inf)


def nearest_boundary(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, candidates: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, and for each image the slope towards the nearest boundary `(n, *shape)` and its distance `(n,)`.

    Nearest in the linearized model and in the norm of `threat`; 0 where no change of the image changes the logits.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        rivals = likeliest_wrong(logits.detach(), y, candidates)
        gaps = logits.gather(-1, rivals) - logits.gather(-1, y.unsqueeze(-1))
        nearest, distance = torch.zeros_like(x), torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        for gap in gaps.unbind(-1) if gaps.requires_grad else ():
            (slope,) = torch.autograd.grad(gap.sum(), x, retain_graph=True, allow_unused=True, materialize_grads=True)
            stuck = ((x <= threat.low) & (slope < 0)) | ((x >= threat.high) & (slope > 0))
            slope = slope.masked_fill(stuck, 0)
            # Along the steepest direction of a norm the gap closes as fast as the dual norm of the slope.
            dual = 1 if threat.norm == "linf" else 2
            length = gap.detach().abs() / torch.linalg.vector_norm(slope.flatten(1), ord=dual, dim=1)
            nearer = length < distance  # never where the slope is 0 or not a number
            distance = length.where(nearer, distance)
            nearest = slope.where(nearer.reshape(-1, *[1] * (x.ndim - 1)), nearest)
    return logits.detach(), nearest.detach(), distance.where(distance.isfinite(), 0)


def _back(model: nn.Module, x: Tensor, y: Tensor, end: Tensor) -> Tensor:
    """Halve the way from `end` back to `x` ten times, keeping to what the model gets wrong."""
    part = torch.ones(len(x), *[1] * (x.ndim - 1), dtype=x.dtype, device=x.device)
    for power in range(1, 11):
        less = part - 0.5**power
        wrong = outputs(model, x + less * (end - x)).argmax(-1) != y
        part = torch.where(wrong.reshape(part.shape), less, part)
    return torch.where(part < 1, x + part * (end - x), end)
