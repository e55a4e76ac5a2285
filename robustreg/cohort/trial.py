"""How many runs to train in one step: by a short trial and by memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from ..recipe import Recipe
from ..session import Session
from .member import Member, stack_of

LARGEST = 64  # runs in a stack: more are no faster
SMALLEST = 8  # that the trial goes down to in search of the best size
SLOW = 0.03  # seconds: a step this long is bound by arithmetic, which stacking does not save
ROOM = 2**29  # bytes that the weights of a stack may take, or its images; gradients and momenta take as much each


def stack_size(
    members: Sequence[Member], recipe: Recipe, device: str, task: str, together: bool | None
) -> tuple[int, str]:
    """Return how many of these alike members to train in a stack; and why they are trained alone, if they are."""
    model, data = members[0].model, members[0].splits.train
    if together is False or len(members) == 1 or not recipe.epochs or not len(data):
        return 1, ""
    if data.streamed or members[0].splits.val.streamed:
        return 1, "trained alone: its images are not in memory"
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    images = 4 * len(data) * math.prod(data.shape) * (len({id(one.splits) for one in members}) > 1)
    largest = min(len(members), LARGEST, ROOM // max(weights, images, 1))
    if largest < 2:
        return 1, "trained alone: too large to be stacked"
    try:
        with torch.random.fork_rng():
            paces = _paces(members[:largest], recipe, device, task, impatient=not together)
    except Exception as error:  # whatever a model or a plugin raises inside vmap, it may be sound outside
        lines = str(error).strip().splitlines() or [""]
        return 1, f"trained alone, as it does not run inside torch.vmap: {type(error).__name__}: {lines[0]}"
    if together:
        paces.pop(1)
    size = min(paces, key=lambda size: paces[size])
    return -(-len(members) // -(-len(members) // size)), "" if size > 1 else "trained alone: stacked it is no faster"


def _paces(members: Sequence[Member], recipe: Recipe, device: str, task: str, *, impatient: bool) -> dict[int, float]:
    """Seconds a step and run of copies of these members, alone and in stacks of several sizes."""
    session = Session(members[0].model, members[0].regularizers, recipe, device=device, task=task)
    x, y = next(members[0].splits.train.batches(None, recipe.batch_size, device))
    session.objective.train()

    def alone() -> None:
        loss, _ = session.objective(x, y, 0)
        session.optimizer.zero_grad()
        loss.backward()
        session.optimizer.step()

    paces = {1: _pace(alone)}
    if impatient and paces[1] > SLOW:
        return paces
    stack = stack_of(members, recipe, device, task)
    stack.look()  # must run, too
    stack.worker.train()
    while True:
        size = len(stack.sessions)
        where, keys = torch.arange(len(x), device=device).expand(size, -1), stack.keys()
        paces[size] = _pace(partial(stack.step, where, keys, [0.0] * size)) / size
        if size // 2 < SMALLEST or paces[size] > min(paces.values()):
            return paces
        stack.keep(range(size // 2))


def _pace(step: Callable[[], object], times: int = 3) -> float:
    step()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    return min(taken)
