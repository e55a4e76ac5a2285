"""Projected gradient descent: many small steps inside the threat model, from random starts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..threat import ThreatModel
from .batching import BATCH, attacked
from .fgsm import along
from .gradients import climbing_gradient, input_gradient, outputs
from .losses import AttackLoss, find_loss, scale_free
from .points import Points
from .pursuit import Climbers, Pursuit, kept
from .siblings import rows


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    steps: int = 40,
    norm: str = "linf",
    loss: str | AttackLoss = "scale_free",
    travel: float = 2.5,
    step_size: float | None = None,
    restarts: int = 1,
    fgsm_start: bool = False,
    clean_start: bool = False,
    persist: bool = False,
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image one that the model gets wrong, if any was found, else the one of highest loss.

    Every iterate counts, the start and the last one included; a broken image is not worked on further. Images the
    model already gets wrong are returned unchanged. The result of an image does not depend on its batch.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, floats in [0, 1]; the result has their type.
        y: int64 labels `(n,)`.
        eps: budget in pixel units.
        steps: gradient steps of each restart.
        norm: "linf" or "l2".
        loss: "scale_free", "margin", "dlr", "cross_entropy", or a function of logits and labels.
        travel: length of the way that the steps make together, in units of eps.
        step_size: in pixel units; default travel * eps / steps.
        restarts: how many starts.
        fgsm_start: take the FGSM image (of the scale-free loss) as the first start; the others are random.
        clean_start: take the clean image as the first start; the others are random.
        persist: climb all steps also with images that are wrong already or broken on the way, and return the iterate of
            highest loss: for attacks that are to break other models too.
        seed: decides the random starts, together with restart and sample.
        samples: a number for each sample, int64 `(n,)`, that keys its starts; default 0, 1, 2 ...
        batch_size: images at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, or a bad setting.

    Madry et al, Towards deep learning models resistant to adversarial attacks, 2018.
    """
    threat, objective = ThreatModel(norm, eps), find_loss(loss)
    for name, value in (("steps", steps), ("restarts", restarts)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    if fgsm_start and clean_start:
        raise UsageError("fgsm_start and clean_start are both set, and there is one first start; choose one of them")
    if not 0 < travel < math.inf:
        raise UsageError(f"travel must be a positive number of eps, got {travel}")
    size = travel * threat.eps / steps if step_size is None else float(step_size)
    if threat.eps > 0 and not 0 < size < math.inf:
        raise UsageError(f"step_size must be a positive number of pixel units, got {step_size}")

    def attack(points: Points) -> Tensor:
        if fgsm_start:
            asked = [input_gradient(part.model, part.x, part.y, scale_free) for part in points.split(batch_size)]
            logits, gradient = (torch.cat([answer[which] for answer in asked]) for which in (0, 2))
        else:
            logits = points.logits(batch_size)
        pursuit = Pursuit(points.x, broken=logits.argmax(-1) != points.y, persist=persist)
        for restart in range(restarts):
            for at in pursuit.batches(batch_size):
                some = points[at]
                if fgsm_start and restart == 0:
                    start = along(threat, some.x, threat.steepest(gradient.index_select(0, at)))
                elif clean_start and restart == 0:
                    start = some.x
                else:
                    start = threat.start(some.x, some.rng("pgd", restart), some.samples)
                climb(some, start, Climbers(pursuit, at, some.y), threat, objective, steps, size)
        return pursuit.best

    return attacked(model, x, y, threat, attack, seed=seed, samples=samples, batch_size=batch_size)


def climb(
    points: Points,
    candidate: Tensor,
    climbers: Climbers,
    threat: ThreatModel,
    loss: AttackLoss,
    steps: int,
    size: float,
) -> None:
    """Take `steps` ascent steps from `candidate`, and tell the pursuit what they find."""
    model, x, (lower, upper) = points.model, points.x, threat.bounds(points.x)
    for _ in range(steps):
        logits, losses, gradient = climbing_gradient(model, candidate, climbers.y, loss)
        keep = climbers.look(candidate, logits, losses)
        candidate = threat.project(threat.step(candidate, gradient, size), x, (lower, upper))
        if keep is not None:
            if not len(keep):
                return
            model = rows(model, keep)
            x, candidate, lower, upper = kept(keep, x, candidate, lower, upper)
    logits = outputs(model, candidate)  # the image after the last step counts too, and needs no gradient
    climbers.look(candidate, logits, loss(logits, climbers.y))
