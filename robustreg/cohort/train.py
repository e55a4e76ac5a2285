"""Train many runs: in one stacked step where that is faster, one after the other where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..compiler import without_compiler
from ..engines import local
from ..errors import UsageError
from ..noise import fold, seed_key
from ..recipe import Recipe
from ..regularizer import Regularizer
from ..session import Run, Session, seed_torch
from ..training import checked, train
from .member import Member, alike
from .stack import Stack
from .trial import most, stack_or_why, try_stack

if TYPE_CHECKING:
    from ..data.split import Splits


def train_many(
    make_model: Callable[[], nn.Module],
    regularizers: Iterable[Regularizer],
    splits: Splits,
    *,
    seeds: int | Iterable[int],
    device: str = "cpu",
    task: str = "classification",
    together: bool | None = None,
    processes: int = 1,
    recipe: Recipe | None = None,
    **settings: Any,
) -> list[Run]:
    """Train one run a seed, each from weights drawn with its seed, and return them in the order of `seeds`.

    Together and alone a run has the same random draws, and the same weights but for rounding, which can grow over many
    steps: after 20 epochs mostly 1e-6, with mixup 1e-2. In a stack its bits do not depend on the others, as a rule.

    Args:
        make_model: returns a network with weights drawn from torch's global generator, which is seeded for each run.
        regularizers: instances; every run has copies of its own.
        splits: the same for all runs; see `train`.
        seeds: how many (0, 1, ...) or which; they decide initial weights, batch order and all noise.
        device: a torch device.
        task: "classification" or "regression".
        together: True trains in stacked steps what can be stacked, else alone, and `Run.note` says why; False trains
            one after the other; None takes what a short trial finds faster. So a stopwatch chooses: for the same bits
            on another day say True or False.
        processes: see `train_cohort`.
        recipe: how to train; `settings` replaces single fields of it (`epochs=`, `learning_rate=` ...).

    Raises:
        UsageError: for a bad recipe or a model that does not fit the data.
        PluginError: when a regularizer fails.
    """
    chosen = checked(nn.Identity(), regularizers, splits)
    if isinstance(make_model, nn.Module) or not callable(make_model):
        got = type(make_model).__name__
        raise UsageError(f"make_model must be a function that returns a new network, got {got}; use lambda: ...")
    members = []
    for seed in range(seeds) if isinstance(seeds, int) else seeds:
        with torch.random.fork_rng():
            seed_torch(fold(seed_key(seed), "weights"), device)
            members.append(Member(make_model(), chosen, splits, seed))
    recipe = (recipe or Recipe()).changed(**settings)
    return train_cohort(members, recipe=recipe, device=device, task=task, together=together, processes=processes)


def train_cohort(
    members: Sequence[Member],
    *,
    recipe: Recipe,
    device: str = "cpu",
    task: str = "classification",
    together: bool | None = None,
    processes: int = 1,
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
        processes: how many processes share the runs, each with one thread; this one alone where no process can be
            forked. One a core pays for small networks, which keep a core busy and no more.
        on_epoch: called now and then with the share of all epochs that is done; by this process alone.

    Raises:
        UsageError, PluginError: as `train` does.
    """
    if processes < 1:
        raise UsageError(f"processes must be at least 1, got {processes}")
    shares = [share for at in range(processes) if (share := range(at, len(members), processes))]
    if len(shares) > 1 and not local.problem():
        how: dict[str, Any] = {"recipe": recipe, "device": device, "task": task, "together": together}
        return _on_processes(members, shares, how)
    for member in members:
        checked(member.model, member.regularizers, member.splits)
    told = on_epoch or (lambda share: None)
    runs: dict[int, Run] = {}
    for group in alike(members):
        size = most([members[at] for at in group])
        parts = -(-len(group) // size)  # of nearly equal size
        stacking, note = True, ""
        for number in range(parts):
            some = group[len(group) * number // parts : len(group) * (number + 1) // parts]
            chosen, done = [members[at] for at in some], len(runs)

            def tell(share: float, weight: int = len(some), done: int = done) -> None:
                told((done + weight * share) / len(members))

            with torch.random.fork_rng(), without_compiler():
                stack: Stack | None = None
                if stacking and not number:
                    stack, note = try_stack(chosen, recipe, device, task, together)
                    stacking = stack is not None
                elif stacking:
                    stack, note = stack_or_why(chosen, recipe, device, task)
                found = _alone(chosen, recipe, device, task, tell) if stack is None else _stacked(stack, tell)
            for run in found:
                run.note = note
            runs |= dict(zip(some, found, strict=True))
    return [runs[at] for at in range(len(members))]


def _on_processes(members: Sequence[Member], parts: Sequence[range], how: dict[str, Any]) -> list[Run]:
    def work(note: Callable[[Any], None], part: range) -> Iterator[tuple[range, list[Run]]]:
        yield part, train_cohort([members[at] for at in part], **how)

    found: dict[int, Run] = {}
    engine = local.start(work, lambda task, note: None, workers=len(parts))
    try:
        left = {engine.submit(part) for part in parts}
        while left:
            event = engine.wait()
            if event.error is not None:
                raise event.error
            if event.over:
                left.remove(event.task)
            else:
                found |= zip(*event.result, strict=True)
    finally:
        engine.close()
    return [found[at] for at in range(len(members))]


def _alone(
    members: Sequence[Member], recipe: Recipe, device: str, task: str, tell: Callable[[float], None]
) -> list[Run]:
    runs: list[Run] = []
    for one in members:

        def told(session: Session, done: int = len(runs)) -> None:
            tell((done + session.epoch / recipe.epochs) / len(members))

        shared: dict[str, Any] = {"device": device, "task": task, "recipe": recipe, "on_epoch": told}
        runs.append(train(one.model, one.regularizers, one.splits, seed=one.seed, **shared))
    return runs


def _stacked(stack: Stack, tell: Callable[[float], None]) -> list[Run]:
    while stack.sessions:
        stack.epoch()
        tell(stack.share_done)
    return stack.runs()
