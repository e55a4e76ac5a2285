"""Projected gradient descent: many small steps inside the threat model, from random starts."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..errors import UsageError
from ..noise import Rng, fold, seed_key
from ..threat import ThreatModel
from .batching import BATCH, in_batches
from .fgsm import along
from .gradients import input_gradient, outputs
from .losses import AttackLoss, find_loss, scale_free
from .pursuit import Pursuit


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
    seed: int = 0,
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
        persist: climb all steps also with images that are wrong already or broken on the way, and return the image of
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
    key = fold(seed_key(seed), "pgd")

    def attack(x: Tensor, y: Tensor, samples: Tensor) -> Tensor:
        if fgsm_start:
            logits, _, gradient = input_gradient(model, x, y, scale_free)
        else:
            logits = outputs(model, x, y)
        pursuit = Pursuit(x, broken=logits.argmax(-1) != y, persist=persist)
        for restart in range(restarts):
            left = pursuit.left
            if not len(left):
                break
            if fgsm_start and restart == 0:
                start = along(threat, x[left], gradient[left])
            elif clean_start and restart == 0:
                start = x[left]
            else:
                start = threat.start(x[left], Rng(fold(key, restart)), samples[left])
            climb(model, x[left], y[left], start, pursuit, threat, objective, steps, size)
        return pursuit.best

    return in_batches(model, x, y, threat, attack, samples=samples, batch_size=batch_size)


def climb(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    candidate: Tensor,
    pursuit: Pursuit,
    threat: ThreatModel,
    loss: AttackLoss,
    steps: int,
    size: float,
) -> None:
    """Take `steps` ascent steps from `candidate` for the samples `pursuit.left`, and record what they find."""
    at = pursuit.left
    lower, upper = threat.bounds(x)
    for _ in range(steps):
        logits, losses, gradient = input_gradient(model, candidate, y, loss)
        keep = pursuit.record(at, candidate, losses, logits.argmax(-1) != y)
        if len(keep) < len(at):
            active = (at, x, y, candidate, gradient, lower, upper)
            at, x, y, candidate, gradient, lower, upper = (tensor[keep] for tensor in active)
            if not len(at):
                break
        candidate = threat.project(threat.step(candidate, gradient, size), x, (lower, upper))
    else:  # the image after the last step counts too, and needs no gradient
        logits = outputs(model, candidate)
        at = at[pursuit.record(at, candidate, loss(logits, y), logits.argmax(-1) != y)]
    pursuit.left = at
