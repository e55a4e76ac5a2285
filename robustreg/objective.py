"""A model and its regularizers as one loss: the merge rules of the training hooks.

A researcher can use it without our trainer: `loss, terms = objective(x, y, key)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from .errors import UsageError
from .hooks import check_hooks, plain, training_hooks
from .hookspecs import Fit, Weights
from .layers import keyed, noisy_layers
from .noise import Key, Rng
from .regularizer import Regularizer

if TYPE_CHECKING:
    from .data.split import Split

__all__ = ["BASE_TERM", "Objective", "check_hooks"]

BASE_TERM = "loss"


class Objective(nn.Module):
    """The loss of a network under regularizers, and its named terms.

    Args:
        model: any `nn.Module` from `(batch, *shape)` pixels in [0, 1] to `(batch, outputs)`. Regularizers may change
            it or return another in `prepare`; the network to train and to keep is `objective.network`.
        regularizers: instances, in the order their `prepare` and `batch` hooks run.
        task: "classification" (cross-entropy on rows of probabilities) or "regression" (mean squared error).
        fit: what `prepare` hooks train other networks with, see `hookspecs`; without it a hook that asks for it fails.

    Raises:
        UsageError: for two regularizers of one name, or one that does not fit the task.
        PluginError: for a hook that does not exist or is misdeclared.
    """

    def __init__(
        self,
        model: nn.Module,
        regularizers: Iterable[Regularizer] = (),
        *,
        task: str = "classification",
        fit: Fit | None = None,
    ) -> None:
        super().__init__()
        if task not in ("classification", "regression"):
            raise UsageError(f"task must be 'classification' or 'regression', got {task!r}")
        self.task = task
        self.stacked = False  # whether it is called for many runs at once
        self.passes = 0  # of the network, those that regularizers ask for included
        self.across: Callable[[Weights], Weights] | None = None  # for gradients of the loss that processes share
        self._classes: int | None = None
        self._places: list[tuple[str, dict[str, nn.Parameter | None], str]] | None = None
        members = list(regularizers)
        self._hooks = training_hooks(members, task)
        taken = {name for hook in ("batch", "weights", "penalty") for name in self._hooks[hook].takes}
        self._looks_at_rows = bool(taken & {"y", "loss"})
        self._looks_at_params = "params" in taken or bool(self._hooks["weights"])
        self.regularizers = nn.ModuleDict({member.name: member for member in members})
        self.network = self._next("prepare", model, fit=fit or _no_fit)
        self._noisy = noisy_layers(self.network)
        self._has_buffers = any(True for _ in self.network.buffers())

    def has(self, hook: str, takes: str | None = None) -> bool:
        """Return whether a regularizer implements this training hook, and with this argument."""
        found = self._hooks[hook]
        return bool(found) if takes is None else takes in found.takes

    def before_epoch(self, x: Tensor, y: Tensor, epoch: int, key: Key) -> tuple[Tensor, Tensor]:
        """Return the training set to learn from in an epoch: `x` and `y` passed through every `before_epoch` hook."""
        known = {"epoch": epoch, "x": x, "y": y}
        for call, changed in self._hooks["before_epoch"].answers(known, Rng(key, x.device)):
            known["x"], known["y"] = x, y = call.pair(changed, x, y, whole=True)
        return x, y

    def forward(self, x: Tensor, y: Tensor, key: Key, progress: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimize and its named terms, which add up to it.

        Args:
            x: `(batch, *shape)` floats in [0, 1].
            y: `(batch,)` int64 labels or `(batch, classes)` rows that are distributions; in regression
                `(batch, outputs)` targets.
            key: the randomness of this step, an int or an int64 tensor: equal keys give equal noise.
            progress: share of training that is done; 1 for regularizers at their full strength.
        """
        rng = Rng(key, x.device)
        with keyed(self._noisy, rng.split("network")) if self._noisy else nullcontext():
            labels, given = y, self.rows(x, y) if self._looks_at_rows else y
            x, y = self.learned_from(x, given, key, progress)
            if self._hooks["weights"]:
                known = {**self._known(progress), "params": self.parameters_now(), "x": x, "y": y}
                moved = self._chain("weights", rng.split("weights"), known, "params")
                logits = functional_call(self.network, dict(moved), (x,))
            else:
                logits = self.network(x)
            self.passes += 1
            loss = self.base_loss(logits, labels if y is given else y)  # of labels it is the same, and faster
            terms = {BASE_TERM: loss} | self.penalties(x, y, logits, key, progress)
        for name, term in terms.items():
            if name != BASE_TERM:
                loss = loss + term
        return loss, terms

    def learned_from(self, x: Tensor, y: Tensor, key: Key, progress: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return the batch to learn from in a step: images and rows, passed through every `batch` hook."""
        if self._hooks["batch"]:
            known = {**self._known(progress), "x": x, "y": y}
            for call, changed in self._hooks["batch"].answers(known, Rng(key, x.device)):
                known["x"], known["y"] = x, y = call.pair(changed, x, y)
        return x, y

    def penalties(self, x: Tensor, y: Tensor, logits: Tensor, key: Key, progress: float = 1.0) -> dict[str, Tensor]:
        """Return the named terms that `penalty` hooks add to the loss of a step."""
        terms: dict[str, Tensor] = {}
        if self._hooks["penalty"]:
            known = {**self._known(progress), "x": x, "y": y, "logits": logits}
            if self._looks_at_params:
                known["params"] = self.parameters_now()
            for call, added in self._hooks["penalty"].answers(known, Rng(key, x.device)):
                call.merge(terms, added, BASE_TERM)
        return terms

    def _known(self, progress: float) -> dict[str, Any]:
        return {"predict": self._predict, "loss": self._pure_loss, "progress": progress}

    @torch.no_grad()
    def gradient(self, gradients: Weights, key: Key, progress: float = 1.0) -> Weights:
        """Return the gradients to follow: those of the loss passed through every `gradient` hook."""
        known = {"params": self.parameters_now(), "gradients": gradients, "progress": progress}
        return self._chain("gradient", self._rng(key, "gradient"), known, "gradients")

    @torch.no_grad()
    def after_step(self, before: Weights, learning_rate: float | Tensor, key: Key, progress: float = 1.0) -> Weights:
        """Return the weights to go on with after an update: those of the network through every `after_step` hook.

        Args:
            before: the weights before the update; may be empty where no hook takes them.
            learning_rate: of the update; hooks are given it as a 0-d float64 tensor.
            key: the randomness of the step.
            progress: share of training that is done.
        """
        rate = torch.as_tensor(learning_rate, dtype=torch.float64)
        known = {"params": self.parameters_now(), "before": before, "learning_rate": rate, "progress": progress}
        return self._chain("after_step", self._rng(key, "after_step"), known, "params")

    def _rng(self, key: Key, hook: str) -> Rng:
        device = next((tensor.device for tensor in self.network.parameters()), None)
        return Rng(key, device).split(hook)

    def _chain(self, hook: str, rng: Rng, known: dict[str, Any], what: str) -> Weights:
        """Pass `known[what]`, tensors by name, through the implementations of a hook."""
        for call, given in self._hooks[hook].answers(known, rng):
            known[what] = call.replaced(known[what], given)
        return known[what]

    def _next(self, hook: str, model: nn.Module, **known: Any) -> nn.Module:
        """Pass a network through the implementations of a hook."""
        known["model"] = model
        for call, given in self._hooks[hook].answers(known):
            known["model"] = call.expect(given, nn.Module)
        return known["model"]

    def base_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss of `(batch, outputs)` against rows of the same shape, or labels, before any penalty."""
        if self.task == "regression":
            return F.mse_loss(outputs, _like(outputs, y))
        if y.ndim == 1:
            return F.cross_entropy(outputs, y)
        if self.stacked:
            return self.base_losses(outputs.unsqueeze(0), y.unsqueeze(0))[0]
        return -(y * outputs.log_softmax(-1)).sum(-1).mean()

    def base_losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the `base_loss` of each run, `(runs,)`, from `(runs, batch, outputs)` and rows of that shape.

        The same but for rounding, and a third of the time on thousands of short rows.
        """
        if self.task == "regression":
            return (outputs - _like(outputs, y)).square().flatten(1).mean(1)
        return (outputs.logsumexp(-1) - (y * outputs).sum(-1)).mean(-1)

    def rows(self, x: Tensor, y: Tensor) -> Tensor:
        """Return what `y` says of `x` as rows: `(batch,)` labels as distributions; rows and targets as they are."""
        if self.task == "regression" or y.ndim > 1:
            return y
        if self._classes is None:
            # Looked at once, and leaving no trace: a resumed run must go on as if it had not looked again.
            with torch.no_grad(), torch.random.fork_rng([x.device] if x.is_cuda else []):
                self._classes = self._outputs(x[:2]).shape[-1]
        return torch.eye(self._classes, dtype=x.dtype, device=y.device).index_select(0, y)

    def learning_rate(self, progress: float, base: float) -> float:
        """Return the factor of the base learning rate at `progress` in [0, 1): the product over regularizers."""
        factor = 1.0
        for call, given in self._hooks["learning_rate"].answers({"progress": progress, "base": base}):
            factor *= call.factor(given)
        return factor

    def after_epoch(self, epoch: int, metrics: Mapping[str, float], val: Split | None = None) -> bool:
        """Tell every regularizer that an epoch ended; return whether any wants to stop."""
        known = {"epoch": epoch, "metrics": metrics, "model": self.network, "val": val}
        answers = [call.expect(plain(given), bool) for call, given in self._hooks["after_epoch"].answers(known)]
        return any(answers)

    def finish(self, train: Split | None = None) -> nn.Module:
        """Return the network to keep: after training on `train`, passed through every `finish` hook."""
        return self._next("finish", self.network, train=train)

    def parameters_now(self) -> dict[str, Tensor]:
        """Return the tensors that stand in the place of the network's parameters, by name."""
        # Their places are found once; what stands there changes when the objective is called with other tensors.
        if self._places is None:
            found = [(name, *name.rpartition(".")) for name, _ in self.network.named_parameters()]
            self._places = [(name, self.network.get_submodule(path)._parameters, last) for name, path, _, last in found]
        return {name: home[last] for name, home, last in self._places}  # type: ignore[misc]

    def _predict(self, x: Tensor, params: Weights | None = None, training: bool = True) -> Tensor:
        self.passes += 1
        with nullcontext() if training else _evaluating(self.network):
            return self._outputs(x, params)

    def _outputs(self, x: Tensor, params: Weights | None = None) -> Tensor:
        if params is None and not self._has_buffers:
            return self.network(x)
        # Buffers are cloned: a forward pass through BatchNorm in training mode must leave no trace.
        state = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        state.update(dict(self.network.named_parameters()) if params is None else params)
        return functional_call(self.network, state, (x,))

    def _pure_loss(self, x: Tensor, y: Tensor, params: Weights | None = None, training: bool = True) -> Tensor:
        if params is not None and self.across is not None:
            params = self.across(params)
        return self.base_loss(self._predict(x, params, training), y)


def _like(outputs: Tensor, targets: Tensor) -> Tensor:
    """The targets; a UsageError where torch would stretch one of the two to the other, and learn something else."""
    if outputs.shape != targets.shape:
        got = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
        raise UsageError(f"in regression outputs and targets have one shape, got {got}")
    return targets


def _no_fit(model: nn.Module, *regularizers: Regularizer) -> nn.Module:
    raise UsageError("a regularizer wants to train another network first, and only train() and compare() can do that")


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put the network in evaluation mode, and each of its modules back into its own mode afterwards."""
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
