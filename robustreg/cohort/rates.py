"""The learning rates of runs that are trained in one step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..session import Session
from .likeness import beside_tensors, described


class Schedules:
    """The schedules of runs within an epoch: those that agree in all that decides a rate are asked once a step."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._which = [_decisive(session) for session in sessions]
        self._asked = dict(zip(self._which, sessions, strict=True))

    def rates(self, progress: float) -> list[float]:
        """Return the learning rate of each run."""
        rate = {}
        for which, session in self._asked.items():
            base = session.recipe.learning_rate
            rate[which] = base * session.objective.learning_rate(progress, base)
        return [rate[which] for which in self._which]


def _decisive(session: Session) -> str:
    members = [one for one in session.objective.regularizers.values() if hasattr(type(one), "learning_rate")]
    buffers = [{key: value.tolist() for key, value in one.named_buffers()} for one in members]
    beside = [beside_tensors(module) for one in members for module in one.modules()]
    return str((buffers, described(beside, unknown=id)))  # an object of an unknown kind is nobody else's


def step_at(rates: Sequence[float], optimizer: torch.optim.Optimizer, base: float) -> None:
    """Make the optimizer's step for stacked tensors, each row of them at a learning rate of its own.

    Args:
        rates: of the rows.
        optimizer: of tensors `(rows, ...)` that have gradients.
        base: the learning rate of the recipe. The step is made at this one, and not at one taken from the rows that
            happen to be here, or it would round otherwise in other company.
    """
    for group in optimizer.param_groups:
        group["lr"] = base
    if all(rate == base for rate in rates):
        optimizer.step()
        return
    # An update is proportional to its learning rate: a run with another one goes that share of the way.
    learned = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    before = [tensor.detach().clone() for tensor in learned]
    optimizer.step()
    with torch.no_grad():
        for tensor, old in zip(learned, before, strict=True):
            shares = torch.tensor([rate / base for rate in rates], dtype=torch.float64, device=old.device)
            share = shares.to(old.dtype).reshape(-1, *[1] * (old.ndim - 1))
            tensor.copy_(torch.where(share == 1, tensor, old + share * (tensor - old)))
