"""Whether to train runs in one step, and how many: by memory and by a short trial."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ..recipe import Recipe
from .likeness import Unlike
from .member import Member, session_of, stack_of
from .stack import Stack

LARGEST = 32  # runs in a stack: more are hardly faster, and caches are finite
SLOW = 0.03  # seconds: a step this long is bound by arithmetic, which stacking does not save
ROOM = 2**29  # bytes that the weights of a stack may take, or its images; gradients and momenta take as much each


def most(members: Sequence[Member]) -> int:
    """Return how many of these alike members fit into a stack, at least 1."""
    data = members[0].splits.train
    weights = sum(tensor.numel() * tensor.element_size() for tensor in members[0].model.parameters())
    images = 4 * len(data) * math.prod(data.shape) * (len({id(one.splits) for one in members}) > 1)
    return max(1, min(len(members), LARGEST, ROOM // max(weights, images, 1)))


def try_stack(
    members: Sequence[Member], recipe: Recipe, device: str, task: str, together: bool | None
) -> tuple[Stack | None, str]:
    """Return a stack of these alike members, ready to be trained; or None, and why if it was considered.

    With `together` None they are stacked if a step of the stack takes less time a run than one of a run alone.
    """
    parts = members[0].splits.train, members[0].splits.val
    if together is False or (len(members) == 1 and not together) or not recipe.epochs or not len(parts[0]):
        return None, ""
    if any(part.streamed for part in parts):
        return None, "trained alone: its images are not in memory"
    try:
        pace = math.inf if together else _pace(_alone(members[0], recipe, device, task), device)
        if SLOW < pace < math.inf:
            return None, "trained alone: stacked it is no faster"
        stack = stack_of(members, recipe, device, task)
        where = torch.arange(min(recipe.batch_size, len(parts[0])), device=device).expand(stack.rows, -1)
        with stack.rehearsal():
            stack.look()  # must run, too
            stack.worker.train()
            step = partial(stack.step, stack.batch(where), stack.keys(), [0.0] * stack.rows, 0.0)
            stacked = _pace(step, device, times=1 if together else 5) / len(members)
    except Exception as error:
        return None, _why(error)
    return (stack, "") if stacked < pace else (None, "trained alone: stacked it is no faster")


def stack_or_why(members: Sequence[Member], recipe: Recipe, device: str, task: str) -> tuple[Stack | None, str]:
    """Return a stack of these alike members, ready to be trained; or None, and why there is none."""
    try:
        return stack_of(members, recipe, device, task), ""
    except Exception as error:
        return None, _why(error)


def _why(error: Exception) -> str:
    if isinstance(error, Unlike):
        return f"trained alone: {error}"
    # Whatever a model or a plugin raises inside vmap, it may be sound outside.
    lines = str(error).strip().splitlines() or [""]
    return f"trained alone, as it does not run inside torch.vmap: {type(error).__name__}: {lines[0]}"


def _alone(member: Member, recipe: Recipe, device: str, task: str) -> Callable[[], Any]:
    session = session_of(member, recipe, device, task)
    x, y = next(member.splits.train.batches(None, recipe.batch_size, device))
    objective = session.objective.train()

    def step() -> None:
        loss, _ = objective(x, y, 0)
        for parameter in session.learned:
            parameter.grad = None
        loss.backward()
        if objective.has("gradient"):
            session.take(gradients=objective.gradient(session.gradients(), 0))
        before = session.weights() if objective.has("after_step", "before") else {}
        session.optimizer.step()
        if objective.has("after_step"):
            session.take(weights=objective.after_step(before, recipe.learning_rate, 0))

    return step


def _pace(step: Callable[[], Any], device: str, times: int = 5) -> float:
    """The seconds a step takes; on a CPU those it was computed for, whatever else the machine does meanwhile."""
    on_cpu = torch.device(device).type == "cpu"
    taken = []
    for _ in range(times):
        started = time.process_time() if on_cpu else time.perf_counter()
        step()
        if not on_cpu:
            torch.cuda.synchronize(device)
        taken.append((time.process_time() if on_cpu else time.perf_counter()) - started)
    return min(taken[-4:])  # the first of five warms up
