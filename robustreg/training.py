"""Train one run. The loop is `epochs`, and every training hook is visible in it, at its call or in a comment."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .compiler import without_compiler
from .distributed import ALONE, World
from .errors import UsageError
from .fitting import check_learns
from .inference import judged
from .noise import fold
from .objective import Objective
from .recipe import Recipe
from .regularizer import Regularizer
from .session import Run, Session, norms, seed_torch

if TYPE_CHECKING:
    from .data.split import Split, Splits

__all__ = ["Recipe", "Run", "Session", "train"]


def train(
    model: nn.Module,
    regularizers: Iterable[Regularizer],
    splits: Splits,
    *,
    seed: int = 0,
    device: str = "cpu",
    task: str = "classification",
    on_epoch: Callable[[Session], None] | None = None,
    state: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    world: World = ALONE,
    **settings: Any,
) -> Run:
    """Train a copy of `model` under `regularizers` on `splits.train` and return the run.

    Args:
        model: any `nn.Module` from `(batch, *shape)` pixels in [0, 1] to `(batch, outputs)`.
        regularizers: instances; they are copied, so that one instance can be used in many runs.
        splits: `train` is learned from, `val` is looked at after each epoch, `test` is not touched.
        seed: decides batch order and all noise. The initial weights are the model's.
        device: a torch device.
        task: "classification" or "regression".
        on_epoch: called after every epoch with the session, to show progress or to save `session.state_dict()`.
        state: a saved `state_dict` to go on from; the result equals an uninterrupted run bit for bit.
        recipe: how to train; `settings` replaces single fields of it (`epochs=`, `learning_rate=` ...).
        world: the processes that train it together, see `distributed`; this one alone by default.

    Raises:
        UsageError: for a bad recipe or a model that does not fit the data.
        PluginError: when a regularizer fails.
    """
    recipe = (recipe or Recipe()).changed(**settings)
    shared: dict[str, Any] = {"seed": seed, "device": device, "task": task, "state": state, "world": world}
    with closing(epochs(model, regularizers, splits, recipe, **shared)) as steps:
        for found in steps:
            if on_epoch is not None and isinstance(found, Session):
                on_epoch(found)
    return found  # type: ignore[return-value]  # the last is the run


def epochs(
    model: nn.Module,
    regularizers: Iterable[Regularizer],
    splits: Splits,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str = "cpu",
    task: str = "classification",
    state: Mapping[str, Any] | None = None,
    world: World = ALONE,
) -> Generator[Session | Run, None, None]:
    """Train as `train` does; yield the session after every epoch that did not diverge, and in the end the run."""
    regularizers = checked(model, regularizers, splits, task)
    started = time.perf_counter()
    data, val = splits.train.ready(device), splits.val.ready(device)
    steps = recipe.epochs * -(-len(data) // recipe.batch_size)

    with torch.random.fork_rng(), without_compiler():
        shared: dict[str, Any] = {"seed": seed, "device": device, "task": task}
        fit = teacher(splits, recipe, world=world, **shared)
        session = Session(model, regularizers, recipe, fit=fit, **shared)  # the hook prepare
        if state is not None:
            session.load_state_dict(state)
        objective, optimizer, key = session.objective, session.optimizer, session.key
        objective.across = world.across
        step_key = fold(key, "step")
        while session.running:
            # For modules that use torch's own stream.
            seed_torch(fold(world.own(fold(key, "torch")), session.epoch), device)
            objective.network.train()
            seen: dict[str, list[tuple[Tensor, float]]] = {}
            images, order = session.images(data), session.order(len(data))  # the hook before_epoch
            for x, y, count in world.batches(images, order, recipe.batch_size, device):
                progress, at = session.step / steps, fold(step_key, session.step)
                rate = recipe.learning_rate * objective.learning_rate(progress, recipe.learning_rate)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss, terms = objective(x, y, world.own(at), progress)  # the hooks batch, weights and penalty
                for parameter in session.learned:  # optimizer.zero_grad() says the same and takes longer
                    parameter.grad = None
                loss.backward()
                world.reduce(session.learned)
                if objective.has("gradient"):
                    session.take(gradients=objective.gradient(session.gradients(), at, progress))
                before = session.weights() if objective.has("after_step", "before") else {}
                optimizer.step()
                if objective.has("after_step"):
                    session.take(weights=objective.after_step(before, rate, at, progress))
                session.step += 1
                for name, value in terms.items():
                    seen.setdefault(name, []).append((value.detach(), count))
            looked = look(objective, {"train": data, "val": val}, world)
            session.end_epoch(world.total(means(seen, len(data))), val, learning_rate=rate, **looked)  # after_epoch
            world.agree(session)
            if not session.diverged:
                yield session
        yield session.result(time.perf_counter() - started, data)  # the hook finish


def teacher(splits: Splits, recipe: Recipe, **shared: Any) -> Callable[..., Run]:
    """Return what trains another network as the run itself is trained, for `prepare` hooks that need one."""
    return lambda model, *regularizers: train(model, regularizers, splits, recipe=recipe, **shared)


def means(seen: Mapping[str, list[tuple[Tensor, float]]], count: int) -> dict[str, float]:
    """Return the means, over `count` images, of terms seen in batches of given sizes; the loss is the sum of all."""
    found = {}
    for name, pairs in seen.items():
        values, sizes = zip(*pairs, strict=True)
        found[name] = float(torch.stack(values).cpu().double() @ torch.tensor(sizes, dtype=torch.float64)) / count
    return {"train_loss": sum(found.values()), **found}


def checked(model: object, regularizers: object, splits: Any, task: str = "") -> list[Regularizer]:
    """Return the regularizers as a list; a UsageError unless these three can be trained.

    With a task the model is asked, too: whoever trains runs in a stack leaves that to the training alone of those that
    fail in it.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if any(map(is_lazy, model.parameters())):
        raise UsageError("model has lazy layers, which know no shapes yet; call it once on a batch of images")
    if not hasattr(splits, "train") or not hasattr(splits, "val"):
        raise UsageError(f"splits must have train and val, as load_data gives them; got {type(splits).__name__}")
    if isinstance(regularizers, (str, nn.Module)) or not isinstance(regularizers, Iterable):
        raise UsageError(f"regularizers must be a list of Regularizer instances, got {regularizers!r:.80}")
    if task:
        check_learns(model, (splits.train, splits.val), task)
    return list(regularizers)


def look(objective: Objective, parts: Mapping[str, Split], world: World = ALONE) -> dict[str, float]:
    """Return the metrics of the network in evaluation mode on un-augmented data, as `train_accuracy`."""
    found = {"frobenius_norm": sum(norm**2 for norm in norms(objective.network).values()) ** 0.5}
    outputs = [one for one in world.outputs(objective.network, parts.values()) if len(one)]
    names = [name for name, split in parts.items() if len(split)]
    if names:
        labels = torch.cat([parts[name].y.to(outputs[0].device) for name in names])
        for key, values in judged(torch.cat(outputs), labels, objective.task).items():
            for name, part in zip(names, values.split([len(one) for one in outputs]), strict=True):
                found[f"{name}_{key}"] = float(part.mean())
    return found
