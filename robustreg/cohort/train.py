"""Train many runs: in one stacked step where that is faster, one after the other where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..noise import fold, seed_key
from ..recipe import Recipe
from ..regularizer import Regularizer
from ..session import Run, Session
from ..training import checked, train
from .member import Member, alike, stack_of
from .trial import stack_size

if TYPE_CHECKING:
    from ..data.split import Splits


def train_many(
    make_model: Callable[[], nn.Module],
    regularizers: Iterable[Regularizer],
    splits: Splits,
    *,
    seeds: Iterable[int],
    device: str = "cpu",
    task: str = "classification",
    together: bool | None = None,
    recipe: Recipe | None = None,
    **settings: Any,
) -> list[Run]:
    """Train one run a seed, each from weights drawn with its seed, and return them in the order of `seeds`.

    Args:
        make_model: returns a network with weights drawn from torch's global generator, which is seeded for each run.
        regularizers: instances; every run has copies of its own.
        splits: the same for all runs; see `train`.
        seeds: decide initial weights, batch order and all noise.
        device: a torch device.
        task: "classification" or "regression".
        together: train in stacked steps or one after the other; None takes what a short trial finds faster.
        recipe: how to train; `settings` replaces single fields of it (`epochs=`, `learning_rate=` ...).

    Raises:
        UsageError: for a bad recipe or a model that does not fit the data.
        PluginError: when a regularizer fails.
    """
    chosen = checked(nn.Identity(), regularizers, splits)
    members = []
    for seed in seeds:
        with torch.random.fork_rng():
            torch.manual_seed(int(fold(seed_key(seed), "weights")))
            members.append(Member(make_model(), chosen, splits, seed))
    recipe = (recipe or Recipe()).changed(**settings)
    return train_cohort(members, device=device, task=task, together=together, recipe=recipe)


def train_cohort(
    members: Sequence[Member],
    *,
    recipe: Recipe,
    device: str = "cpu",
    task: str = "classification",
    together: bool | None = None,
    on_epoch: Callable[[float], None] | None = None,
) -> list[Run]:
    """Train all members under one recipe and return their runs, in order.

    Members that are alike (one architecture, the same list of regularizers, as many images) are trained together
    where that is faster; float knobs, seeds, labels and images may differ.

    Args:
        members: what to train; their models and regularizers are copied.
        recipe: how to train.
        device: a torch device.
        task: "classification" or "regression".
        together: see `train_many`.
        on_epoch: called now and then with the share of all epochs that is done.

    Raises:
        UsageError, PluginError: as `train` does.
    """
    for member in members:
        checked(member.model, member.regularizers, member.splits)
    told = on_epoch or (lambda share: None)
    runs: dict[int, Run] = {}
    for group in alike(members):
        size, note = stack_size([members[at] for at in group], recipe, device, task, together)
        for start in range(0, len(group), size):
            some = group[start : start + size]
            chosen, done = [members[at] for at in some], len(runs)

            def tell(share: float, weight: int = len(some), done: int = done) -> None:
                told((done + weight * share) / len(members))

            found = (
                _stacked(chosen, recipe, device, task, tell) if size > 1 else _alone(chosen, recipe, device, task, tell)
            )
            found[0].note = note
            runs |= dict(zip(some, found, strict=True))
    return [runs[at] for at in range(len(members))]


def _alone(
    members: Sequence[Member], recipe: Recipe, device: str, task: str, tell: Callable[[float], None]
) -> list[Run]:
    def told(session: Session) -> None:
        tell(session.epoch / recipe.epochs)

    shared: dict[str, Any] = {"device": device, "task": task, "recipe": recipe, "on_epoch": told}
    return [train(one.model, one.regularizers, one.splits, seed=one.seed, **shared) for one in members]


def _stacked(
    members: Sequence[Member], recipe: Recipe, device: str, task: str, tell: Callable[[float], None]
) -> list[Run]:
    with torch.random.fork_rng():
        stack = stack_of(members, recipe, device, task)
        while stack.sessions:
            stack.epoch()
            tell(stack.share_done)
        return stack.runs()
