"""What the laws are tried on: small networks, small data, and regularizers that watch the others."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.split import Split, Splits
from ..hookspecs import hookimpl
from ..layers import Dropout, Noisy
from ..noise import Key, Rng, fold, seed_key
from ..objective import Objective
from ..recipe import Recipe
from ..regularizer import Regularizer
from ..session import Run, Session
from ..training import train

OUTPUTS = 4
SHAPE = (1, 6, 6)
FACTORS = (1.0, 0.5, 0.75)  # of the knobs, one a run in a cohort
RECIPE = Recipe(epochs=4, batch_size=8, learning_rate=0.02)


class Broken(Exception):
    """A law that is not kept; the message says what was seen and what to do."""


class NotTested(Exception):
    """A law that says nothing about this regularizer."""


class Bench:
    """A regularizer class with the knobs it is checked at, and the trainings it is tried in."""

    def __init__(self, kind: type[Regularizer], knobs: Mapping[str, Any]) -> None:
        self.kind, self.knobs = kind, dict(knobs)

    @property
    def task(self) -> str:
        """The task the laws are tried in: the first of its tasks."""
        return self.kind.tasks[0]

    def make(self, **knobs: Any) -> Regularizer:
        """Return an instance at the knobs of the check, some of them replaced."""
        return self.kind(**{**self.knobs, **knobs})

    def scaled(self, factor: float) -> Regularizer:
        """Return an instance with every float knob multiplied, inside its range."""
        values = self.make().settings()
        knobs = {name: knob for name, knob in self.kind.knobs.items() if knob.is_tensor}
        new = {name: min(max(float(values[name]) * factor, knob.low), knob.high) for name, knob in knobs.items()}
        return self.make(**new)

    def objective(self, members: list[Regularizer], model: nn.Module | None = None, task: str = "") -> Objective:
        """Return the objective of copies, in training mode."""
        model = network() if model is None else copy.deepcopy(model)
        return self.around(model, copy.deepcopy(members), task).train()

    def around(self, model: nn.Module, members: list[Regularizer], task: str = "") -> Objective:
        """Return the objective of these very objects; where one wants a teacher, that is trained for an epoch."""
        task = task or self.task

        def fit(network: nn.Module, *others: Regularizer) -> nn.Module:
            return train(network, others, data(task), task=task, recipe=RECIPE, seed=3, epochs=1).model

        return Objective(model, members, task=task, fit=fit)

    def train(self, members: list[Regularizer], model: nn.Module | None = None, **options: Any) -> Run:
        """Return a training of a few steps on the bench's data."""
        model = network() if model is None else model
        return train(model, members, data(self.task), task=self.task, recipe=RECIPE, seed=3, **options)

    def implements(self, *hooks: str) -> bool:
        """Whether the class implements one of these hooks."""
        return any(hasattr(getattr(self.kind, hook, None), "robustreg_impl") for hook in hooks)

    @contextmanager
    def sealed(self) -> Iterator[None]:
        """Leave every global random state as it was, whatever happens inside; compute on one thread."""
        python, numpy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()
        torch.set_num_threads(1)  # more only wait for each other on networks this small
        try:
            with torch.random.fork_rng():
                yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            torch.set_num_threads(threads)


class Watcher(Regularizer):
    """Stands last in the chain, changes nothing, and keeps what it sees and draws."""

    name = "watcher"

    @hookimpl(trylast=True)
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> None:
        """Keep the batch that is learned from."""
        self.seen = {"x": x, "y": y}
        self.drawn = rng.uniform(8)

    @hookimpl(trylast=True)
    def penalty(self, params: Mapping[str, Tensor], x: Tensor, y: Tensor, logits: Tensor, rng: Rng) -> None:
        """Keep what penalties are given."""
        self.seen |= {"logits": logits, **params}
        self.drawn_late = rng.uniform(8)


class Guard(Regularizer):
    """Stands first, and keeps copies beside what it was given."""

    name = "guard"

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, tuple[Tensor, Tensor]] = {}

    def _keep(self, tensors: Mapping[str, Tensor]) -> None:
        self.given |= {name: (value, value.detach().clone()) for name, value in tensors.items()}

    @hookimpl(tryfirst=True)
    def before_epoch(self, x: Tensor, y: Tensor) -> None:
        """Keep the training set before the others saw it."""
        self._keep({"the training set's x": x, "the training set's y": y})

    @hookimpl(tryfirst=True)
    def batch(self, x: Tensor, y: Tensor) -> None:
        """Keep the batch before the others saw it."""
        self._keep({"x": x, "y": y})

    @hookimpl(tryfirst=True)
    def penalty(self, params: Mapping[str, Tensor], x: Tensor, y: Tensor, logits: Tensor) -> None:
        """Keep what penalties are given before the others saw it."""
        self._keep({"the batch's x": x, "the batch's y": y, "logits": logits, **params})

    @hookimpl(tryfirst=True)
    def gradient(self, gradients: Mapping[str, Tensor]) -> None:
        """Keep the gradients before the others saw them."""
        self._keep({f"the gradient of {name}": value for name, value in gradients.items()})

    @hookimpl(tryfirst=True)
    def after_step(self, before: Mapping[str, Tensor]) -> None:
        """Keep the weights before the update."""
        self._keep({f"{name} before the update": value for name, value in before.items()})

    def check(self) -> None:
        """Raise `Broken` unless everything is what it was."""
        edited = [name for name, (value, before) in self.given.items() if not same(value.detach(), before)]
        if edited:
            raise Broken(f"{', '.join(edited)} changed in place; return new tensors instead")


class NoisyWatcher(Noisy):
    """A noisy layer that changes nothing and keeps what it draws first."""

    drawn: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`."""
        drawn = self.rng(x.device).uniform(8)
        self.drawn = drawn if self.drawn is None else self.drawn
        return x


def network(seed: int = 0, *, normalized: bool = True, noisy: bool = True) -> nn.Module:
    """Return a network of all usual parts: convolution, BatchNorm, two linear layers, dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.BatchNorm2d(3) if normalized else nn.Identity(),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(3 * 36, 8),
            nn.ReLU(),
            Dropout(0.2) if noisy else nn.Identity(),
            nn.Linear(8, OUTPUTS),
        )


def batch(task: str, count: int = 8, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return `count` random images with labels, or with targets in regression."""
    rng = Rng(fold(seed_key(seed), "bench"))
    x = rng.uniform(count, *SHAPE)
    return x, rng.normal(count, OUTPUTS) if task == "regression" else rng.integers(OUTPUTS, count)


def data(task: str) -> Splits:
    """Return 20 images to train on and 12 to validate with; the last batch is smaller than the others."""
    classes = tuple("abcd")

    def part(seed: int, count: int) -> Split:
        return Split(*batch(task, count, seed), classes, torch.arange(count))

    return Splits(part(1, 20), part(2, 12), part(3, 4), "bench", classes, SHAPE, "bench", 0)


def step_key(run: int, step: int = 0) -> Key:
    """Return the key of one step of one run."""
    return fold(fold(seed_key(run), "step"), step)


def same(first: Any, second: Any) -> bool:
    """Whether two states are equal bit for bit: tensors, numbers, and what holds them."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if first.shape != second.shape or first.dtype != second.dtype:
            return False
        return bool(((first == second) | (first.isnan() & second.isnan())).all())
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and (first == second or first != first)


def distance(found: Tensor, wanted: Tensor) -> float:
    """Return the norm of the difference relative to the norm of `wanted`."""
    found, wanted = found.detach(), wanted.detach()
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-12))


def states(bench: Bench, members: list[Regularizer], **options: Any) -> list[dict[str, Any]]:
    """Return the session's state after every epoch of a training."""
    found: list[dict[str, Any]] = []

    def keep(session: Session) -> None:
        found.append(session.state_dict())

    run = bench.train(members, on_epoch=keep, **options)
    if run.status != "ok":
        raise Broken(f"the training {run.status}: {run.reason}")
    return found
