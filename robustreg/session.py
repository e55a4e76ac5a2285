"""One run: what it consists of while it is trained, and what is left of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from .noise import Key, fold, seed_key
from .objective import Objective
from .recipe import Recipe
from .regularizer import Regularizer


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
    ) -> None:
        self.seed, self.recipe, self.device = seed, recipe, device
        self.key = seed_key(seed)
        seed_torch(fold(self.key, "prepare"), device)
        # Copies: neither the model nor the regularizers that were passed in are changed by a training.
        members = [copy.deepcopy(member) for member in regularizers]
        self.objective = Objective(copy.deepcopy(model), members, task=task).to(device)
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

    def end_epoch(self, means: Mapping[str, float], **metrics: float) -> None:
        """Take note of an epoch: its mean losses and what was seen after it; regularizers may stop the run."""
        row = {**means, "epoch": self.epoch, **metrics}
        self.history.append(row)
        self.epoch += 1
        if all(map(math.isfinite, means.values())):
            self.stopped = self.objective.after_epoch(self.epoch - 1, row)
        else:
            self.diverged = f"the loss was {means['train_loss']} in epoch {self.epoch}"

    def result(self, seconds: float) -> Run:
        """Return the run, after every `finish` hook."""
        return Run(
            self.objective.finish().eval(),
            self.seed,
            self.recipe,
            self.history,
            "diverged" if self.diverged else "ok",
            self.diverged,
            [member.settings() for member in self.objective.regularizers.values()],  # type: ignore[operator]
            self.initial_norms,
            self.objective.passes,
            seconds,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all state, as tensors and plain values: a copy, which training on does not change."""
        counters = {"epoch": self.epoch, "step": self.step, "stopped": self.stopped, "passes": self.objective.passes}
        state = {"objective": self.objective.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**copy.deepcopy(state), "history": [dict(row) for row in self.history], **counters}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state of the same model, regularizers and recipe."""
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))  # torch would train in the saved tensors
        self.history = [dict(row) for row in state["history"]]
        self.epoch, self.step, self.stopped = state["epoch"], state["step"], state["stopped"]
        self.objective.passes = state["passes"]


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
    found = [value.double() for value in torch._foreach_norm(list(named.values()))]
    return dict(zip(named, torch.stack(found).tolist(), strict=True))  # with one transfer
