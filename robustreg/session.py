"""One run: what it consists of while it is trained, and what is left of it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .errors import UsageError, printable
from .noise import Key, fold, permutations, seed_key
from .objective import Objective
from .recipe import Recipe
from .regularizer import Regularizer

if TYPE_CHECKING:
    from .data.split import Split


class StateError(UsageError):
    """A saved state that is not of this run: its tensors, or what it has beside them, are others."""


@dataclass
class Run:
    """One training and what came of it.

    Attributes:
        model: the trained network, in evaluation mode.
        history: a row of metrics for every epoch.
        status: "ok", or "diverged" when the loss stopped being finite.
        reason: a sentence when the status is not "ok".
        regularizers: name and knobs of each, as plain values.
        initial_norms: Frobenius norm of each parameter before training.
        gradient_passes: network passes spent on training, those of regularizers included.
        seconds: wall time of the training; of one in a cohort its share.
        cohort: how many runs were trained in one step with it, itself included.
        note: why it was trained alone, where others with it could not be stacked.
    """

    model: nn.Module = field(repr=False)
    seed: int
    recipe: Recipe
    history: list[dict[str, float]] = field(default_factory=list, repr=False)
    status: str = "ok"
    reason: str = ""
    regularizers: list[dict[str, Any]] = field(default_factory=list)
    initial_norms: dict[str, float] = field(default_factory=dict, repr=False)
    gradient_passes: int = 0
    seconds: float = 0.0
    cohort: int = 1
    note: str = ""


class Session:
    """Everything a run consists of between two epochs; `state_dict` saves it and `load_state_dict` goes on bitwise.

    To be used with torch's global random state forked: regularizers that make layers draw from it, seeded.
    """

    def __init__(
        self,
        model: nn.Module,
        regularizers: Iterable[Regularizer],
        recipe: Recipe,
        *,
        seed: int = 0,
        device: str = "cpu",
        task: str = "classification",
        fit: Callable[..., Run] | None = None,
    ) -> None:
        self.seed, self.recipe, self.device = seed, recipe, device
        self._began, self._before = time.perf_counter(), 0.0  # of this sitting, and the seconds of those before it
        self.key = seed_key(seed)
        seed_torch(fold(self.key, "prepare"), device)
        # Copies: neither the model nor the regularizers that were passed in are changed by a training.
        members = [copy.deepcopy(member) for member in regularizers]
        self.taught = 0  # passes of networks that were trained first, for this one to learn from

        def fitted(model: nn.Module, *others: Regularizer) -> nn.Module:
            run = fit(model, *others)  # type: ignore[misc]  # only asked for where there is one
            self.taught += run.gradient_passes
            return run.model

        self.objective = Objective(copy.deepcopy(model), members, task=task, fit=fit and fitted).to(device)
        self.initial_norms = norms(self.objective.network)
        self.epoch = 0
        self.step = 0
        self.stopped = False
        self.diverged = ""
        self.history: list[dict[str, float]] = []

    @cached_property
    def learned(self) -> list[nn.Parameter]:
        """The parameters of the network."""
        return list(self.objective.network.parameters())

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the network's parameters."""
        return self.recipe.build(self.learned)

    @property
    def running(self) -> bool:
        """Whether there is another epoch to train."""
        return self.epoch < self.recipe.epochs and not self.stopped and not self.diverged

    def order(self, count: int) -> Tensor:
        """Return the order in which the images are learned from in this epoch, int64 `(count,)`."""
        if not self.recipe.shuffle:
            return torch.arange(count)
        key = fold(fold(self.key, "order"), self.epoch)
        return permutations(torch.tensor([key]), count)[0]

    def images(self, train: Split) -> Split:
        """Return the training set of this epoch: `train`, unless a `before_epoch` hook puts another in its place."""
        if not self.objective.has("before_epoch"):
            return train
        if not isinstance(train.x, Tensor):
            raise UsageError("a regularizer changes the training set before each epoch, so it must be in memory")
        key = fold(fold(self.key, "before_epoch"), self.epoch)
        x, y = self.objective.before_epoch(train.x, train.y, self.epoch, key)
        return replace(train, x=x, y=y)

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients that the last backward pass left, by the name of the parameter."""
        named = self.objective.network.named_parameters()
        return {name: parameter.grad for name, parameter in named if parameter.grad is not None}

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights, by name."""
        return {name: value.detach().clone() for name, value in self.objective.network.named_parameters()}

    def take(
        self, *, gradients: Mapping[str, Tensor] | None = None, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take over gradients or weights that hooks have returned."""
        with torch.no_grad():
            for name, parameter in self.objective.network.named_parameters():
                if gradients and name in gradients:
                    parameter.grad = gradients[name]
                if weights and weights[name] is not parameter:
                    parameter.copy_(weights[name])

    def end_epoch(self, means: Mapping[str, float], val: Split | None = None, **metrics: float) -> None:
        """Take note of an epoch: its mean losses and what was seen after it; regularizers may stop the run."""
        row = {**means, "epoch": self.epoch, **metrics}
        self.history.append(row)
        self.epoch += 1
        if all(map(math.isfinite, means.values())):
            self.stopped = self.objective.after_epoch(self.epoch - 1, row, val)
        else:
            self.diverged = f"the loss was {means['train_loss']} in epoch {self.epoch}"

    def result(self, seconds: float, train: Split | None = None) -> Run:
        """Return the run, after every `finish` hook."""
        return Run(
            self.objective.finish(train).eval(),
            self.seed,
            self.recipe,
            self.history,
            "diverged" if self.diverged else "ok",
            self.diverged,
            [member.settings() for member in self.objective.regularizers.values()],  # type: ignore[operator]
            self.initial_norms,
            self.objective.passes + self.taught,
            seconds + self._before,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all state, as tensors and plain values: a copy, which training on does not change."""
        counters = {"epoch": self.epoch, "step": self.step, "stopped": self.stopped, "passes": self.objective.passes}
        state = {"objective": self.objective.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**copy.deepcopy(state), "history": [dict(row) for row in self.history], **counters}

    def to_go_on(self) -> dict[str, Any]:
        """Return all state, and how many seconds were spent so far: what a run that may be cut off saves."""
        return {**self.state_dict(), "seconds": self._before + time.perf_counter() - self._began}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state of the same model, regularizers and recipe.

        Raises:
            StateError: for the state of another run; this one is then of no use any more.
        """
        try:
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))  # torch would train in the saved tensors
            self.history = [dict(row) for row in state["history"]]
            self.epoch, self.step, self.stopped = state["epoch"], state["step"], state["stopped"]
            self.objective.passes, self._before = state["passes"], float(state.get("seconds", 0.0))
            if not 0 <= self.epoch == len(self.history) <= self.recipe.epochs:
                raise ValueError(f"it says that {self.epoch} epochs are done, and tells of {len(self.history)}")
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = next(iter(str(error).splitlines()[1:]), f"{type(error).__name__}: {error}").strip()
            raise StateError(f"the saved state is not of this run: {printable(reason)}") from error


def seed_torch(number: Key, device: str) -> None:
    """Seed torch's own stream, for modules that draw from it."""
    # torch.manual_seed formats a call stack for every kind of device not in use: too slow for each epoch on a CPU.
    seed = torch.manual_seed if torch.device(device).type != "cpu" else torch.default_generator.manual_seed
    seed(int(number))


def norms(network: nn.Module) -> dict[str, float]:
    """Return the Frobenius norm of each parameter by its name."""
    named = {name: parameter.detach() for name, parameter in network.named_parameters()}
    if not named:
        return {}
    found = torch.stack(torch._foreach_norm(list(named.values())))
    return dict(zip(named, found.tolist(), strict=True))  # with one transfer
