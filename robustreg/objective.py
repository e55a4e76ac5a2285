"""A model and its regularizers as one loss: the merge rules of the training hooks.

A researcher can use it without our trainer: `loss, terms = objective(x, y, key)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from importlib import metadata
from typing import Any

import pluggy
import torch
from pluggy import HookCaller, HookImpl
from torch import Tensor, nn
from torch.nn import functional as F

from . import hookspecs
from .errors import PluginError, RobustregError, UsageError
from .layers import keyed, noisy_layers
from .noise import Key, Rng
from .regularizer import Regularizer

BASE_TERM = "loss"
_ARGUMENTS = {
    name: frozenset(inspect.signature(hook).parameters)
    for name, hook in vars(hookspecs.Training).items()
    if not name.startswith("_")
}


class Objective(nn.Module):
    """The loss of a network under regularizers, and its named terms.

    Args:
        model: any `nn.Module` from `(batch, *shape)` pixels in [0, 1] to `(batch, outputs)`. Regularizers may change
            it or return another in `prepare`; the network to train and to keep is `objective.network`.
        regularizers: instances, in the order their `prepare` and `batch` hooks run.
        task: "classification" (cross-entropy on rows of probabilities) or "regression" (mean squared error).

    Raises:
        UsageError: for two regularizers of one name, or one that does not fit the task.
        PluginError: for a hook that does not exist or is misdeclared.
    """

    def __init__(
        self, model: nn.Module, regularizers: Iterable[Regularizer] = (), *, task: str = "classification"
    ) -> None:
        super().__init__()
        if task not in ("classification", "regression"):
            raise UsageError(f"task must be 'classification' or 'regression', got {task!r}")
        self.task = task
        self.stacked = False  # whether it is called for many runs at once
        self.passes = 0  # of the network, those that regularizers ask for included
        self._classes: int | None = None
        self._places: list[tuple[str, dict[str, nn.Parameter | None], str]] | None = None
        members = list(regularizers)
        self._hooks = _training_hooks(members, task)
        taken = {name for hook in ("batch", "penalty") for call in self._hooks[hook] for name in call.takes}
        self._looks_at_rows, self._looks_at_params = bool(taken & {"y", "loss"}), "params" in taken
        self.regularizers = nn.ModuleDict({member.name: member for member in members})
        for call in self._hooks["prepare"]:
            model = call.next(model)
        self.network = model
        self._noisy = noisy_layers(model)

    def forward(self, x: Tensor, y: Tensor, key: Key) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimize and its named terms, which add up to it.

        Args:
            x: `(batch, *shape)` floats in [0, 1].
            y: `(batch,)` int64 labels or `(batch, classes)` rows that are distributions; in regression
                `(batch, outputs)` targets.
            key: the randomness of this step, an int or an int64 tensor: equal keys give equal noise.
        """
        rng = Rng(key, x.device)
        with keyed(self._noisy, rng.split("network")) if self._noisy else nullcontext():
            y = self.rows(x, y) if self._looks_at_rows else y
            known: dict[str, Any] = {"predict": self._predict, "loss": self._pure_loss}
            for call in self._hooks["batch"]:
                changed = call(rng, known, x=x, y=y)
                if changed is not None:
                    x, y = call.pair(changed)
            logits = self.network(x)
            self.passes += 1
            terms = {BASE_TERM: self.base_loss(logits, y)}
            known["logits"] = logits
            if self._looks_at_params:
                known["params"] = self._parameters_now()
            for call in self._hooks["penalty"]:
                call.merge(terms, call(rng, known, x=x, y=y))
        loss = terms[BASE_TERM]
        for name, term in terms.items():
            if name != BASE_TERM:
                loss = loss + term
        return loss, terms

    def base_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss of `(batch, outputs)` against rows of the same shape, or labels, before any penalty."""
        if self.task == "regression":
            return F.mse_loss(outputs, y)
        if y.ndim == 1:
            return F.cross_entropy(outputs, y)
        if self.stacked:  # the same but for rounding, and a third of the time on thousands of short rows
            return (outputs.logsumexp(-1) - (y * outputs).sum(-1)).mean()
        return -(y * outputs.log_softmax(-1)).sum(-1).mean()

    def rows(self, x: Tensor, y: Tensor) -> Tensor:
        """Return what `y` says of `x` as rows: `(batch,)` labels as distributions; rows and targets as they are."""
        if self.task == "regression" or y.ndim > 1:
            return y
        if self._classes is None:
            # Looked at once, and leaving no trace: a resumed run must go on as if it had not looked again.
            with torch.no_grad(), torch.random.fork_rng([x.device] if x.is_cuda else []):
                self._classes = self._outputs(x[:2]).shape[-1]
        return F.one_hot(y, self._classes).to(x.dtype)

    def learning_rate(self, progress: float, base: float) -> float:
        """Return the factor of the base learning rate at `progress` in [0, 1): the product over regularizers."""
        factor = 1.0
        for call in self._hooks["learning_rate"]:
            given = call.expect(_plain(call(None, {"progress": progress, "base": base})), (int, float))
            factor *= 1.0 if given is None else float(given)
        return factor

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Tell every regularizer that an epoch ended; return whether any wants to stop."""
        known = {"epoch": epoch, "metrics": metrics, "model": self.network}
        answers = [call.expect(_plain(call(None, known)), bool) for call in self._hooks["after_epoch"]]
        return any(answers)

    def finish(self) -> nn.Module:
        """Return the network to keep: after training, passed through every `finish` hook."""
        model = self.network
        for call in self._hooks["finish"]:
            model = call.next(model)
        return model

    def _parameters_now(self) -> dict[str, Tensor]:
        # Their places are found once; what stands there changes when the objective is called with other tensors.
        if self._places is None:
            found = [(name, *name.rpartition(".")) for name, _ in self.network.named_parameters()]
            self._places = [(name, self.network.get_submodule(path)._parameters, last) for name, path, _, last in found]
        return {name: home[last] for name, home, last in self._places}  # type: ignore[misc]

    def _predict(self, x: Tensor, params: Mapping[str, Tensor] | None = None) -> Tensor:
        self.passes += 1
        return self._outputs(x, params)

    def _outputs(self, x: Tensor, params: Mapping[str, Tensor] | None = None) -> Tensor:
        # Buffers are cloned: a forward pass through BatchNorm in training mode must leave no trace.
        state = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        state.update(dict(self.network.named_parameters()) if params is None else params)
        return torch.func.functional_call(self.network, state, (x,))

    def _pure_loss(self, x: Tensor, y: Tensor, params: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.base_loss(self._predict(x, params), y)


def check_hooks(members: Iterable[Regularizer], task: str = "classification") -> None:
    """Raise what `Objective` would raise for these regularizers, without a model."""
    _training_hooks(list(members), task)


def _training_hooks(members: list[Regularizer], task: str) -> dict[str, list[_Call]]:
    """Register the regularizers of one run; return the implementations of each hook in the order the user gave."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs.Training)
    for member in reversed(members):
        if not isinstance(member, Regularizer):
            raise UsageError(f"a regularizer must be a robustreg.Regularizer instance, got {member!r}")
        if "." in member.name or hasattr(nn.ModuleDict, member.name):
            raise PluginError(f"{_who(member)}: torch cannot keep a module of this name; rename the regularizer")
        if manager.has_plugin(member.name):
            raise UsageError(f"two regularizers are called {member.name!r}; give one of them another name=")
        if task not in member.tasks:
            raise UsageError(f"regularizer {member.name!r} works for {', '.join(member.tasks)}, not for {task}")
        try:
            manager.register(member, name=member.name)
        except pluggy.PluginValidationError as error:
            raise PluginError(f"{_who(member)}: {error}") from error
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{_who(error.plugin)}: {error}") from error
    for member in members:
        for caller in manager.get_hookcallers(member) or ():
            if any(impl.hookwrapper or impl.wrapper for impl in caller.get_hookimpls()):
                raise PluginError(f"{_who(member)}: {caller.name}() must not be a wrapper; hooks return their effect")
    return {name: _calls(getattr(manager.hook, name)) for name in dir(hookspecs.Training) if name[0] != "_"}


def _calls(hook: HookCaller) -> list[_Call]:
    """The implementations of a hook in call order."""
    impls = hook.get_hookimpls()[::-1]
    # pluggy calls the last ones latest first; here they too run in the order the user gave.
    ordered = [impl for impl in impls if not impl.trylast] + [impl for impl in impls[::-1] if impl.trylast]
    return [_Call(impl, hook.name) for impl in ordered]


class _Call:
    """One implementation of a training hook: what it takes, and what it may return."""

    def __init__(self, impl: HookImpl, hook: str) -> None:
        self.function, self.hook = impl.function, hook
        self.owner: Any = impl.plugin
        known = _ARGUMENTS[hook]
        self.takes = (*impl.argnames, *(name for name in impl.kwargnames if name in known))  # those with a default, too

    def __call__(self, rng: Rng | None, known: Mapping[str, Any], **more: Any) -> Any:
        """Return what it returns, given what it takes; a PluginError names it when it fails."""
        given = {name: more[name] if name in more else known[name] for name in self.takes if name != "rng"}
        if rng is not None and "rng" in self.takes:
            given["rng"] = rng.split(self.owner.name)  # its own noise, whoever else draws
        try:
            return self.function(**given)
        except RobustregError:
            raise
        except (Exception, SystemExit) as error:  # a plugin must not end the program
            what = f"{type(error).__name__}: {error}"
            raise PluginError(f"{_who(self.owner)} failed in {self.hook}(): {what}") from error

    def expect(self, value: Any, kind: type | tuple[type, ...]) -> Any:
        """Return the value it gave; a PluginError unless that is None or of the right kind."""
        if value is not None and not isinstance(value, kind):
            wanted = (kind if isinstance(kind, type) else kind[-1]).__name__
            got = type(value).__name__
            raise PluginError(f"{_who(self.owner)}: {self.hook}() must return {wanted} or None, got {got}")
        return value

    def next(self, model: nn.Module) -> nn.Module:
        """Return the network that it puts in the place of `model`."""
        # Compared with None, because an empty container of modules is false.
        found = self.expect(self(None, {"model": model}), nn.Module)
        return model if found is None else found

    def pair(self, value: Any) -> tuple[Tensor, Tensor]:
        """Return the batch it gave."""
        if not (isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, Tensor) for part in value)):
            got = f"{value!r:.80}"
            raise PluginError(f"{_who(self.owner)}: batch() must return the pair (x, y) or None, got {got}")
        return value

    def merge(self, terms: dict[str, Tensor], value: Any) -> None:
        """Add the named terms it gave to `terms`."""
        for name, term in (self.expect(value, Mapping) or {}).items():
            if name in terms:
                raise PluginError(f"{_who(self.owner)}: penalty() names a term {name!r}, which another one already has")
            if not isinstance(term, Tensor) or term.ndim:
                shape = tuple(term.shape) if isinstance(term, Tensor) else type(term).__name__
                raise PluginError(f"{_who(self.owner)}: the penalty {name!r} must be a scalar tensor, got {shape}")
            terms[name] = term


def _plain(value: Any) -> Any:
    """A scalar tensor as a Python number: knobs and state are tensors, and so is what is computed from them."""
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 else value


def _who(plugin: object) -> str:
    """Name a regularizer with the distribution and version it comes from."""
    module = type(plugin).__module__
    found = metadata.packages_distributions().get(module.partition(".")[0], ())
    origin = f"{found[0]} {metadata.version(found[0])}" if found else module
    return f"regularizer {getattr(plugin, 'name', plugin)!r} ({origin})"
