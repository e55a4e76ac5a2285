"""Train one run. The loop is `train`, and every training hook is visible in it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import UsageError, suggest
from .inference import logits
from .noise import Key, Rng, fold, seed_key
from .objective import Objective
from .regularizer import Regularizer

if TYPE_CHECKING:
    from .data.split import Split, Splits

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Recipe:
    """How a run is trained, apart from its regularizers. The learning rate is the base that schedules multiply."""

    epochs: int = 20
    batch_size: int = 50
    optimizer: str = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            hint = suggest(self.optimizer, OPTIMIZERS)
            raise UsageError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}.{hint}")
        for name, low in (("epochs", 0), ("batch_size", 1), ("learning_rate", 0), ("weight_decay", 0)):
            if not getattr(self, name) >= low:
                raise UsageError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum must be in [0, 1), got {self.momentum}")

    def changed(self, **settings: Any) -> Recipe:
        """Return the recipe with other settings; a UsageError for one that it does not have."""
        for name in settings:
            if name not in self.__dataclass_fields__:
                known = ", ".join(self.__dataclass_fields__)
                hint = suggest(name, self.__dataclass_fields__)
                raise UsageError(f"a training has no setting {name!r}; it has {known}.{hint}")
        return replace(self, **settings)

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Return the torch optimizer of this recipe; momentum is Adam's first moment decay."""
        settings: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        settings |= {"momentum": self.momentum} if self.optimizer == "sgd" else {"betas": (self.momentum, 0.999)}
        return OPTIMIZERS[self.optimizer](parameters, **settings)


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
        seconds: wall time of the training.
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


class Session:
    """Everything a run consists of between two epochs; `state_dict` saves it and `load_state_dict` goes on bitwise."""

    def __init__(
        self, model: nn.Module, regularizers: Iterable[Regularizer], recipe: Recipe, device: str, task: str
    ) -> None:
        # Copies: neither the model nor the regularizers that were passed in are changed by a training.
        members = [copy.deepcopy(member) for member in regularizers]
        self.objective = Objective(copy.deepcopy(model), members, task=task).to(device)
        self.optimizer = recipe.build(self.objective.network.parameters())
        self.epoch = 0
        self.step = 0
        self.stopped = False
        self.history: list[dict[str, float]] = []

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

    Raises:
        UsageError: for a bad recipe or a model that does not fit the data.
        PluginError: when a regularizer fails.
    """
    recipe = (recipe or Recipe()).changed(**settings)
    regularizers = _checked(model, regularizers, splits)
    started = time.perf_counter()
    key, data = seed_key(seed), splits.train.to(device)
    steps = recipe.epochs * -(-len(data) // recipe.batch_size)

    with torch.random.fork_rng():
        _seed(fold(key, "prepare"), device)  # for regularizers that make layers
        session = Session(model, regularizers, recipe, device, task)
        objective, optimizer = session.objective, session.optimizer
        run = Run(objective.network, seed, recipe, initial_norms=_norms(objective.network))
        if state is not None:
            session.load_state_dict(state)
        while session.epoch < recipe.epochs and not session.stopped:
            _seed(fold(fold(key, "torch"), session.epoch), device)  # for modules that use torch's own stream
            objective.network.train()
            order = Rng(fold(fold(key, "order"), session.epoch)).permutation(len(data))
            sums: dict[str, Tensor] = {}
            for x, y in data.batches(order, recipe.batch_size, device):
                factor = objective.learning_rate(session.step / steps, recipe.learning_rate)
                for group in optimizer.param_groups:
                    group["lr"] = recipe.learning_rate * factor
                loss, terms = objective(x, y, fold(fold(key, "step"), session.step))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                session.step += 1
                for name, value in ({"train_loss": loss} | terms).items():
                    sums[name] = sums.get(name, 0.0) + value.detach() * len(x)
            metrics = {name: float(total) / len(data) for name, total in sums.items()}
            metrics |= {"epoch": session.epoch, "learning_rate": group["lr"], **_look(objective, splits)}
            session.history.append(metrics)
            session.epoch += 1
            if not all(torch.isfinite(total) for total in sums.values()):
                run.status = "diverged"
                run.reason = f"the loss was {float(sums['train_loss'])} in epoch {session.epoch}"
                break
            session.stopped = objective.after_epoch(session.epoch - 1, metrics)
            if on_epoch is not None:
                on_epoch(session)

    run.model = objective.finish().eval()
    run.history = session.history
    run.regularizers = [member.settings() for member in objective.regularizers.values()]  # type: ignore[operator]
    run.gradient_passes = objective.passes
    run.seconds = time.perf_counter() - started
    return run


def _checked(model: object, regularizers: object, splits: object) -> list[Regularizer]:
    if not isinstance(model, nn.Module):
        raise UsageError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not hasattr(splits, "train") or not hasattr(splits, "val"):
        raise UsageError(f"splits must have train and val, as load_data gives them; got {type(splits).__name__}")
    if isinstance(regularizers, (str, nn.Module)) or not isinstance(regularizers, Iterable):
        raise UsageError(f"regularizers must be a list of Regularizer instances, got {regularizers!r:.80}")
    return list(regularizers)


def _seed(number: Key, device: str) -> None:
    # torch.manual_seed formats a call stack for every kind of device not in use: too slow for each epoch on a CPU.
    seed = torch.manual_seed if torch.device(device).type != "cpu" else torch.default_generator.manual_seed
    seed(int(number))


def _norms(network: nn.Module) -> dict[str, float]:
    return {name: float(parameter.detach().norm()) for name, parameter in network.named_parameters()}


def _look(objective: Objective, splits: Splits) -> dict[str, float]:
    """The metrics of the network in evaluation mode on the un-augmented training and validation data."""
    found = {"frobenius_norm": sum(norm**2 for norm in _norms(objective.network).values()) ** 0.5}
    for name, split in (("train", splits.train), ("val", splits.val)):
        found |= {f"{name}_{key}": value for key, value in _score(objective, split).items()} if len(split) else {}
    return found


def _score(objective: Objective, split: Split) -> dict[str, float]:
    outputs = logits(objective.network, split)
    y = split.y.to(outputs.device)
    if objective.task == "regression":
        return {"error": float(F.mse_loss(outputs, y))}
    return {"accuracy": float((outputs.argmax(-1) == y).float().mean()), "nll": float(F.cross_entropy(outputs, y))}
