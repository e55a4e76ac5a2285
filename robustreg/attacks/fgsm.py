"""The fast gradient sign method: one step along the gradient's sign. Fast, and weak."""

from __future__ import annotations

from torch import Tensor, nn

from ..threat import ThreatModel, moved
from .batching import BATCH, in_batches
from .gradients import input_gradient
from .losses import AttackLoss, find_loss
from .points import Points


def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    loss: str | AttackLoss = "scale_free",
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return every image moved by `eps` in the direction that raises the loss fastest, inside the box.

    One gradient an image; a number to show, never a judge of robustness. Images the model already gets wrong are
    moved too. With norm "l2" this is the fast gradient method.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, floats in [0, 1]; the result has their type.
        y: int64 labels `(n,)`.
        eps: budget in pixel units.
        norm: "linf" or "l2".
        loss: "scale_free", "margin", "dlr", "cross_entropy", or a function of logits and labels.
        seed: taken by every attack; this one draws nothing.
        samples: taken by every attack; this one draws nothing.
        batch_size: images at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, a bad eps, norm or loss.

    Goodfellow et al, Explaining and harnessing adversarial examples, 2015.
    """
    threat, objective = ThreatModel(norm, eps), find_loss(loss)

    def attack(points: Points) -> Tensor:
        _, _, gradient = input_gradient(points.model, points.x, points.y, objective)
        return along(threat, points.x, threat.steepest(gradient))

    return in_batches(model, x, y, threat, attack, seed=seed, samples=samples, batch_size=batch_size)


def along(threat: ThreatModel, x: Tensor, direction: Tensor) -> Tensor:
    """Return the FGSM image of `x` for the steepest direction of its loss: one gradient serves every eps."""
    image = moved(x, direction, threat.eps)
    if threat.norm == "linf":  # a whole step ends on the bounds, bit for bit, and only the box can cut it short
        return image.clamp_(threat.low, threat.high)
    return threat.project(image, x)
