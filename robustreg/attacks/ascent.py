"""The ascent of Auto-PGD: steps that halve themselves, sample by sample, where they stop paying."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..threat import ThreatModel
from .gradients import climbing_gradient, outputs
from .losses import AttackLoss
from .points import Points
from .pursuit import Climbers, at_least, replace, wide
from .siblings import rows

_KEPT = 0.75  # how much of a step is the step, and not the momentum of the one before


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return after which of `steps` steps the step sizes are reconsidered: seldom at first, then more often.

    The distances are 22, 19, 16 ... percent of all steps, and never less than 6.
    """
    found, percent, width = [], 22, 22
    while percent < 100:
        found.append(-(-percent * steps // 100))
        width = max(width - 3, 6)
        percent += width
    return tuple(sorted({at for at in found if at < steps}))


@dataclass
class _State:
    """All the ascent remembers of the samples that are not broken yet; the first dimension is theirs."""

    aim: Tensor
    x: Tensor
    lower: Tensor
    upper: Tensor
    image: Tensor
    before: Tensor  # the image a step earlier
    gradient: Tensor
    loss: Tensor
    best: Tensor  # the image of highest loss in this ascent
    best_gradient: Tensor
    best_loss: Tensor
    size: Tensor  # of the next step
    rises: Tensor  # steps since the last checkpoint that raised the loss
    checked_loss: Tensor  # the best loss at the last checkpoint
    halved: Tensor  # whether the last checkpoint halved the step

    def keep(self, which: Tensor) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name).index_select(0, which))


def ascend(
    points: Points,
    start: Tensor,
    aim: Tensor,
    climbers: Climbers,
    threat: ThreatModel,
    loss: AttackLoss,
    steps: int,
    rho: float,
) -> None:
    """Take `steps` steps of Auto-PGD from `start`, and tell the pursuit what they find.

    A sample that is broken is dropped at once.

    Args:
        points: those that are left, `m` of them.
        start: allowed images `(m, *shape)` to start from.
        aim: what the loss takes beside the logits: the labels, or pairs of label and target.
        climbers: the same points as the pursuit knows them.
        threat: the threat model.
        loss: of logits and aim.
        steps: gradients; the image after the last step is looked at too.
        rho: the share of steps that must raise the loss for a step size to be kept.

    Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    2020.
    """
    model, x = points.model, points.x
    logits, losses, gradient = climbing_gradient(model, start, aim, loss)
    size = torch.full_like(losses, 2 * threat.eps).reshape(-1, *[1] * (x.ndim - 1))
    none = torch.zeros_like(losses)
    lower, upper = threat.bounds(x)
    state = _State(
        aim, x, lower, upper, start, start, gradient, losses,
        start.clone(), gradient.clone(), losses.clone(), size, none, losses, none == 0,
    )  # fmt: skip
    keep = climbers.look(start, logits, losses)
    if keep is not None:
        model = rows(model, keep)
        state.keep(keep)
    checks, last_check = checkpoints(steps), 0
    for step in range(1, steps + 1):
        if not len(climbers):
            break
        image = _stepped(state, threat, 1.0 if step == 1 else _KEPT)
        if step == steps:
            logits = outputs(model, image)
            climbers.look(image, logits, loss(logits, state.aim))
            break
        logits, losses, gradient = climbing_gradient(model, image, state.aim, loss)
        keep = climbers.look(image, logits, losses)
        sure = at_least(losses)
        state.rises += sure > state.loss
        better = (sure > state.best_loss).nonzero().squeeze(1)
        replace(better, (state.best, image), (state.best_gradient, gradient), (state.best_loss, losses))
        state.before, state.image, state.gradient, state.loss = state.image, image, gradient, losses
        if keep is not None:
            model = rows(model, keep)
            state.keep(keep)
        if step in checks:
            _check(state, rho * (step - last_check))
            last_check = step


def _stepped(state: _State, threat: ThreatModel, kept: float) -> Tensor:
    """The next images: a projected step, mixed with the step before, projected."""
    bounds = state.lower, state.upper
    image = threat.project(threat.step(state.image, state.gradient, state.size), state.x, bounds)
    if kept == 1:
        return image
    # image + kept * (step - image) + (1 - kept) * (image - before)
    mixed = image.sub_(state.image).mul_(kept).add_(state.image, alpha=2 - kept).sub_(state.before, alpha=1 - kept)
    return threat.project(mixed, state.x, bounds)


def _check(state: _State, enough: float) -> None:
    """Halve the step, and go back to the best image, where too few steps raised the loss or none found a better one."""
    stuck = ~state.halved & (state.best_loss == state.checked_loss)
    state.halved = (state.rises < enough) | stuck
    state.size = torch.where(wide(state.halved, state.image), state.size / 2, state.size)
    back = state.halved.nonzero().squeeze(1)
    replace(back, (state.image, state.best), (state.gradient, state.best_gradient), (state.loss, state.best_loss))
    state.checked_loss = state.best_loss.clone()
    state.rises.zero_()
