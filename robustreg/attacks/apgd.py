"""Auto-PGD: projected gradient ascent that finds its own step sizes, on one loss or class by class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..threat import ThreatModel
from .ascent import ascend
from .batching import BATCH, attacked
from .losses import AttackLoss, dlr_targeted, find_loss, likeliest_wrong, margin_targeted
from .points import Points
from .pursuit import Climbers, Pursuit

TARGETED: dict[str, AttackLoss] = {"dlr": dlr_targeted, "margin": margin_targeted}


def apgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    steps: int = 100,
    norm: str = "linf",
    loss: str | AttackLoss = "scale_free",
    rho: float = 0.75,
    restarts: int = 1,
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image one that the model gets wrong, if any was found, else the one of highest loss.

    Starts at a random image with steps of 2 eps. At checkpoints, each image by itself, the step is halved and the
    ascent goes on from the best image so far, where fewer than `rho` of the steps raised the loss. Every iterate
    counts; a broken image is not worked on further; images the model already gets wrong are returned unchanged. The
    result of an image does not depend on its batch. Costs at most restarts * steps gradients and
    restarts * (steps + 1) + 1 forward passes an image.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, floats in [0, 1]; the result has their type.
        y: int64 labels `(n,)`.
        eps: budget in pixel units.
        steps: gradient steps of each restart.
        norm: "linf" or "l2".
        loss: "scale_free" (in the place of cross-entropy, which saturates), "dlr" (3 or more classes), "margin",
            "cross_entropy", or a function of logits and labels.
        rho: share of steps that must raise the loss, in [0, 1].
        restarts: how many random starts.
        seed: decides the random starts, together with restart and sample.
        samples: a number for each sample, int64 `(n,)`, that keys its starts; default 0, 1, 2 ...
        batch_size: images at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, a bad setting, or "dlr" below 3 classes.

    Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    2020.
    """
    threat, objective = ThreatModel(norm, eps), find_loss(loss)
    _check_settings(rho, steps=steps, restarts=restarts)

    def attack(points: Points) -> Tensor:
        pursuit = Pursuit(points.x, broken=points.logits(batch_size).argmax(-1) != points.y)
        for restart in range(restarts):
            for at in pursuit.batches(batch_size):
                some = points[at]
                start = threat.start(some.x, some.rng("apgd", restart), some.samples)
                ascend(some, start, some.y, Climbers(pursuit, at, some.y), threat, objective, steps, rho)
        return pursuit.best

    return attacked(model, x, y, threat, attack, seed=seed, samples=samples, batch_size=batch_size)


def apgd_targeted(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    steps: int = 100,
    norm: str = "linf",
    targets: int = 9,
    loss: str | None = None,
    rho: float = 0.75,
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image one that the model gets wrong, if any was found, else the one of highest loss.

    Auto-PGD towards the most likely wrong classes of the clean image, one after the other; any misclassification
    counts. Slower than the untargeted attack and often stronger: each target is another climb. Costs at most
    targets * steps gradients and targets * (steps + 1) + 1 forward passes an image.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, floats in [0, 1]; the result has their type.
        y: int64 labels `(n,)`.
        eps: budget in pixel units.
        steps: gradient steps towards each target.
        norm: "linf" or "l2".
        targets: how many wrong classes; no more than there are.
        loss: "dlr" (4 or more classes) or "margin"; default "dlr", and "margin" for a model of fewer classes.
        rho: share of steps that must raise the loss, in [0, 1].
        seed: decides the random starts, together with target and sample.
        samples: a number for each sample, int64 `(n,)`, that keys its starts; default 0, 1, 2 ...
        batch_size: images at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, a bad setting, or "dlr" below 4 classes.

    Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    2020.
    """
    threat = ThreatModel(norm, eps)
    _check_settings(rho, steps=steps, targets=targets)
    if loss is not None and loss not in TARGETED:
        raise UsageError(f"loss must be one of {', '.join(TARGETED)}, got {loss!r}")

    def attack(points: Points) -> Tensor:
        logits = points.logits(batch_size)
        objective = TARGETED[loss or ("dlr" if logits.shape[1] >= 4 else "margin")]
        pursuit = Pursuit(points.x, broken=logits.argmax(-1) != points.y)
        for rank, target in enumerate(likeliest_wrong(logits, points.y, targets).unbind(1)):
            for at in pursuit.batches(batch_size):
                some = points[at]
                start = threat.start(some.x, some.rng("apgd_targeted", rank), some.samples)
                pairs = torch.stack((some.y, target[at]), 1)
                ascend(some, start, pairs, Climbers(pursuit, at, some.y), threat, objective, steps, rho)
        return pursuit.best

    return attacked(model, x, y, threat, attack, seed=seed, samples=samples, batch_size=batch_size)


def _check_settings(rho: float, **counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    if not 0 <= rho <= 1:
        raise UsageError(f"rho must lie in [0, 1], got {rho}")
