"""The laws. Each takes a bench and returns what was seen, or raises `Broken` or `NotTested`."""

from __future__ import annotations

import copy
import io
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ..hookspecs import Training
from ..regularizer import KINDS, OTHER, Regularizer
from .bench import (
    Bench,
    Broken,
    Guard,
    NoisyWatcher,
    NotTested,
    Watcher,
    batch,
    data,
    network,
    same,
    states,
    step_key,
)
from .cohorts import cohort_equals_solo, vectorized_equals_solo

HOOKS = [name for name in vars(Training) if not name.startswith("_")]
TASKS = ("classification", "regression")
ROUNDING = 1e-4  # of a pixel, and of the sum of a row
EDITABLE = ("before_epoch", "batch", "weights", "penalty", "gradient", "after_step")  # hooks that are given tensors


def registers_cleanly(bench: Bench) -> str:
    """It has a name, a docstring, usable knobs, and only hooks that exist."""
    kind = bench.kind
    if not (isinstance(kind, type) and issubclass(kind, Regularizer)):
        raise Broken(f"a subclass of robustreg.Regularizer is needed, got {kind!r}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", kind.name):
        raise Broken(f"name = {kind.name!r}: a letter, then letters, digits, _ and -; users type it")
    if not (kind.__doc__ or "").strip() or kind.__doc__ is Regularizer.__doc__:
        raise Broken("it has no docstring; the first line says what it does, the last names the paper")
    if kind.kind not in (*KINDS, OTHER):
        raise Broken(f"kind = {kind.kind!r}: one of {', '.join((*KINDS, OTHER))}")
    if not kind.tasks or not set(kind.tasks) <= set(TASKS):
        raise Broken(f"tasks = {kind.tasks!r}: some of {', '.join(TASKS)}")
    forgotten = [hook for hook in HOOKS if hasattr(kind, hook) and not bench.implements(hook)]
    if forgotten:
        raise Broken(f"{forgotten[0]}() is named like a hook and is not marked with @hookimpl")
    settings = bench.make().settings()
    values: dict[str, Any] = {key: value for key, value in settings.items() if key != "name"}
    again = kind(**values)
    if not same(again.settings(), settings):
        raise Broken(f"settings() gave {settings}, and an instance made from them gives {again.settings()}")
    for task in kind.tasks:
        bench.objective([bench.make()], task=task)
    return f"{kind.name}: {', '.join(hook for hook in HOOKS if bench.implements(hook)) or 'no hook'}"


def strength_zero_is_baseline(bench: Bench) -> str:
    """At strength 0 the trained weights are those of no regularizer at all, bit for bit."""
    for normalized in (False, True):
        model = network(normalized=normalized)
        wanted = bench.train([], model).model.state_dict()
        found = bench.train([bench.make(strength=0)], model).model.state_dict()
        for name in wanted:
            if name not in found:
                raise Broken(f"at strength 0 the network has no {name} any more; prepare() must return it as it came")
            if not same(found[name], wanted[name]):
                batchnorm = "with" if normalized else "without"
                raise Broken(
                    f"at strength 0, {name} of a network {batchnorm} BatchNorm differs from the unregularized one; "
                    "use torch.where(self.strength == 0, ...), or scale the effect by strength"
                )
    return "equal weights after a training, with and without BatchNorm"


def arguments_not_edited(bench: Bench) -> str:
    """Hooks that are given tensors (images, labels, weights, gradients, logits) leave them as they were."""
    if not bench.implements(*EDITABLE):
        raise NotTested(f"it has none of {', '.join(EDITABLE)}")
    x, y = batch(bench.task)
    guard = Guard()
    objective = bench.around(network(), [guard, bench.make()]).train()
    objective.before_epoch(x, y, 0, step_key(0))
    loss, _ = objective(x, y, step_key(0))
    guard.check()
    loss.backward()
    weights = dict(objective.network.named_parameters())
    objective.gradient({name: one.grad for name, one in weights.items() if one.grad is not None}, step_key(0))
    before = {name: one.detach() * 0.9 for name, one in weights.items()}
    objective.after_step(before, 0.02, step_key(0))
    guard.check()
    return "what its hooks were given is as it was"


def learns_from_images(bench: Bench) -> str:
    """What `batch` gives are images in [0, 1] and, of classes, rows that are distributions."""
    if not bench.implements("batch"):
        raise NotTested("it has no batch()")
    for task in bench.kind.tasks:
        objective = bench.objective([bench.make()], task=task)
        x, y = batch(task)
        for what, some in {"random images": x, "black images": x * 0, "white images": x * 0 + 1}.items():
            images, rows = objective.learned_from(some, objective.rows(some, y), step_key(0), progress=0.5)
            if not ((images >= -ROUNDING) & (images <= 1 + ROUNDING)).all():
                low, high = (f"{bound.item():.3g}" for bound in images.aminmax())
                raise Broken(f"of {what} batch() gave values from {low} to {high}; clamp images to [0, 1]")
            if task == "regression":
                continue
            if not ((rows >= -ROUNDING) & ((rows.sum(-1, keepdim=True) - 1).abs() <= ROUNDING)).all():
                smallest, total = rows.min().item(), rows.sum(-1)
                off = total[(total - 1).abs().argmax()].item()
                raise Broken(
                    f"batch() gave rows of y that are no distributions: the smallest entry is {smallest:.3g}, and one "
                    f"adds up to {off:.3g}; every row must be of numbers from 0 on that add up to 1"
                )
    return f"on random, black and white images, in {' and '.join(bench.kind.tasks)}"


def state_round_trip(bench: Bench) -> str:
    """A training saved in the middle and resumed ends as the uninterrupted one, bit for bit."""
    whole = states(bench, [bench.make()])
    stored = io.BytesIO()
    torch.save(whole[(len(whole) - 1) // 2], stored)
    stored.seek(0)
    resumed = states(bench, [bench.make()], state=torch.load(stored, weights_only=True))
    for part in whole[-1]:
        if not same(whole[-1][part], resumed[-1][part]):
            raise Broken(f"after resuming, the {part} differs; keep all state in buffers or submodules, none in Python")
    return f"equal state after {whole[-1]['epoch']} epochs, saved and resumed in between"


def finite(bench: Bench) -> str:
    """Loss, terms and gradients are finite: in every task, on black and white images, on a batch of one."""
    for task in bench.kind.tasks:
        x, y = batch(task)
        inputs = {"random images": (x, y), "one image": (x[:1], y[:1])}
        inputs |= {"black images": (x * 0, y), "white images": (x * 0 + 1, y)}
        model = network(normalized=False)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)  # as many networks start: a norm has no slope there
        objective = bench.objective([bench.make()], model, task)
        for step, (what, (some_x, some_y)) in enumerate(inputs.items()):
            objective.zero_grad()
            loss, terms = objective(some_x, some_y, step_key(0, step))
            loss.backward()
            gradients = {f"the gradient of {n}": p.grad for n, p in objective.named_parameters() if p.grad is not None}
            for name, value in {**terms, **gradients}.items():
                if not torch.isfinite(value).all():
                    raise Broken(f"{name} is not finite on {what} ({task})")
    return f"on random, black, white and single images, in {' and '.join(bench.kind.tasks)}"


def global_state_untouched(bench: Bench) -> str:
    """Random states, modes, `.grad`, `requires_grad`, the model and the regularizer passed in stay as they were."""
    model, member, splits = network(), bench.make(), data(bench.task)
    model[0].eval()  # type: ignore[index]  # a frozen part stays frozen
    before = (
        _traces(model),
        copy.deepcopy(member.state_dict()),
        _random_states()[1:],
        copy.deepcopy(vars(splits.train)),
    )
    bench.train([member], model)
    after = (_traces(model), member.state_dict(), _random_states()[1:], vars(splits.train))
    things = ("the model passed in", "the regularizer passed in", "the random state of Python or NumPy", "the data")
    for what, first, second in zip(things, before, after, strict=True):
        if not same(first, second):
            raise Broken(f"after a training, {what} is not what it was")
    objective = bench.objective([bench.make()])
    traces, randoms = _modes(objective.network), _random_states()
    objective(*batch(bench.task), step_key(0))
    for what, first, second in zip(("torch", "Python", "NumPy"), randoms, _random_states(), strict=True):
        if not same(first, second):
            raise Broken(f"it drew from {what}'s global random state; draw from rng")
    if not same(traces, _modes(objective.network)):
        raise Broken("batch() or penalty() changed training modes, .grad or requires_grad of the network")
    return "random states, modes, gradients, the model and the regularizer are as they were"


def others_noise_untouched(bench: Bench) -> str:
    """With it, other regularizers and the network's own noisy layers draw the same numbers as without it."""
    drawn = []
    for members in ([], [bench.make()]):
        layer = NoisyWatcher()
        model = nn.Sequential(*network(), layer)  # type: ignore[misc]
        objective = bench.around(model, [*members, Watcher()]).train()
        objective(*batch(bench.task), step_key(0))
        watcher: Any = objective.regularizers["watcher"]
        drawn.append(
            {"another regularizer": (watcher.drawn, watcher.drawn_late), "a layer of the network": layer.drawn}
        )
    for who in drawn[0]:
        if not same(drawn[0][who], drawn[1][who]):
            raise Broken(
                f"{who} draws other numbers than without it; in prepare() keep the names of submodules (noise is keyed "
                "by name): add submodules or forward hooks instead of wrapping the network"
            )
    return "a regularizer and a layer beside it draw the same numbers"


def same_seed_same_weights(bench: Bench) -> str:
    """Two trainings with one seed end at the same weights, bit for bit, whatever the global random states are."""
    first = bench.train([bench.make()])
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    second = bench.train([bench.make()])
    if not same(first.model.state_dict(), second.model.state_dict()) or not same(first.history, second.history):
        raise Broken("two trainings with one seed differ; take all randomness from rng, or in prepare() from torch")
    return "equal weights and history"


def _random_states() -> tuple[Any, ...]:
    numpy = np.random.get_state(legacy=False)["state"]
    return torch.get_rng_state(), random.getstate(), {"key": numpy["key"].tolist(), "pos": numpy["pos"]}


def _modes(model: nn.Module) -> dict[str, Any]:
    return {
        "training": {name: module.training for name, module in model.named_modules()},
        "parameters": {name: (value.requires_grad, value.grad is None) for name, value in model.named_parameters()},
    }


def _traces(model: nn.Module) -> dict[str, Any]:
    hooks = {name: len(module._forward_pre_hooks) for name, module in model.named_modules()}
    return {**_modes(model), "state": copy.deepcopy(model.state_dict()), "hooks": hooks}


LAWS: dict[str, Callable[[Bench], str]] = {
    law.__name__: law
    for law in (
        registers_cleanly,
        strength_zero_is_baseline,
        arguments_not_edited,
        learns_from_images,
        state_round_trip,
        vectorized_equals_solo,
        cohort_equals_solo,
        finite,
        global_state_untouched,
        others_noise_untouched,
        same_seed_same_weights,
    )
}
