"""One run of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from ..recipe import Recipe
from ..regularizer import Regularizer
from ..session import Session
from ..training import teacher
from .likeness import structure
from .stack import Stack

if TYPE_CHECKING:
    from ..data.split import Splits


@dataclass(frozen=True)
class Member:
    """One run of a cohort: what `train` takes, apart from what all runs share."""

    model: nn.Module
    regularizers: Sequence[Regularizer]
    splits: Splits
    seed: int


def alike(members: Sequence[Member]) -> list[list[int]]:
    """Return the positions of members that can share a stack, group by group."""
    groups: dict[str, list[int]] = {}
    for at, one in enumerate(members):
        parts = (one.splits.train, one.splits.val)
        images = [(len(part), part.shape, part.y.dtype, part.y.shape[1:]) for part in parts]
        groups.setdefault(repr((images, structure(one.model, *one.regularizers))), []).append(at)
    return list(groups.values())


def session_of(member: Member, recipe: Recipe, device: str, task: str) -> Session:
    """Return a run, ready for the first epoch; with torch's random state forked."""
    shared: dict[str, Any] = {"seed": member.seed, "device": device, "task": task}
    fit = teacher(member.splits, recipe, **shared)
    return Session(member.model, member.regularizers, recipe, fit=fit, **shared)


def stack_of(members: Sequence[Member], recipe: Recipe, device: str, task: str) -> Stack:
    """Return a stack of alike members, ready for the first epoch; with torch's random state forked."""
    return Stack([session_of(one, recipe, device, task) for one in members], [one.splits for one in members])
