"""The hooks that the regularizers of one run implement: found once, called by name, checked for what they return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import metadata
from math import isfinite
from operator import itemgetter
from threading import Lock
from typing import Any

import pluggy
from torch import Tensor, nn

from . import hookspecs
from .errors import PluginError, RobustregError, UsageError
from .noise import Rng
from .regularizer import Regularizer

_ARGUMENTS = {
    name: frozenset(inspect.signature(hook).parameters)
    for name, hook in vars(hookspecs.Training).items()
    if not name.startswith("_")
}

_MARK = f"{hookspecs.PROJECT}_impl"  # what `hookimpl` leaves on a function


def check_hooks(members: Iterable[Regularizer], task: str = "classification") -> None:
    """Raise what `Objective` would raise for these regularizers, without a model."""
    training_hooks(list(members), task)


def training_hooks(members: list[Regularizer], task: str) -> dict[str, Hook]:
    """Return every hook with its implementations by the regularizers of one run, in the order the user gave."""
    names: set[str] = set()
    for member in members:
        if not isinstance(member, Regularizer):
            raise UsageError(f"a regularizer must be a robustreg.Regularizer instance, got {member!r}")
        if "." in member.name or hasattr(nn.ModuleDict, member.name):
            raise PluginError(f"{_who(member)}: torch cannot keep a module of this name; rename the regularizer")
        if member.name in names:
            raise UsageError(f"two regularizers are called {member.name!r}; give one of them another name=")
        if task not in member.tasks:
            raise UsageError(f"regularizer {member.name!r} works for {', '.join(member.tasks)}, not for {task}")
        names.add(member.name)
    found: dict[str, list[tuple[int, Call]]] = {name: [] for name in _ARGUMENTS}
    for member in members:
        for hook, (turn, *arguments) in _declared(member).items():
            found[hook].append((turn, Call(member, hook, *arguments)))
    return {name: Hook([call for _, call in sorted(pairs, key=itemgetter(0))]) for name, pairs in found.items()}


Declaration = tuple[int, tuple[str, ...], tuple[str, ...]]  # whose turn it is, arguments, and those with a default
_known: dict[tuple[Any, ...], dict[str, Declaration]] = {}
_registering = Lock()


def _declared(member: Regularizer) -> dict[str, Declaration]:
    """What a regularizer's hooks declare, by name. pluggy looks at them once for all that have the same ones: at each
    regularizer of each run it would take as long as an epoch of a small stack takes a run."""
    own, kind = vars(member), type(member)
    hooks = (own[name] if name in own else getattr(kind, name, None) for name in _ARGUMENTS)
    key = (kind, *(hook if hasattr(hook, _MARK) else None for hook in hooks))
    with _registering:
        if key not in _known:
            _known[key] = _looked_up(member)
        return _known[key]


def _looked_up(member: Regularizer) -> dict[str, Declaration]:
    manager = _Manager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs.Training)
    try:
        manager.register(member, name=member.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{_who(member)}: {error}") from error
    found = {}
    for caller in manager.get_hookcallers(member) or ():
        (impl,) = caller.get_hookimpls()
        if impl.hookwrapper or impl.wrapper:
            raise PluginError(f"{_who(member)}: {caller.name}() must not be a wrapper; hooks return their effect")
        # What has a default is taken, too, where the hook knows it.
        named = tuple(name for name in impl.kwargnames if name in _ARGUMENTS[caller.name])
        found[caller.name] = (impl.trylast - impl.tryfirst, tuple(impl.argnames), named)
    return found


class _Manager(pluggy.PluginManager):
    """Sees all marked functions of a regularizer, and what it has switched off."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Return the marks of an implementation; None of all else."""
        own = vars(plugin)
        found = own[name] if name in own else getattr(type(plugin), name, None)
        return super().parse_hookimpl_opts(plugin, name) if hasattr(found, _MARK) else None


class Hook:
    """A training hook: its implementations in call order, called one after the other."""

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls
        self.takes = {name for call in calls for name in call.takes}

    def __bool__(self) -> bool:
        return bool(self.calls)

    def answers(self, known: dict[str, Any], rng: Rng | None = None) -> Iterator[tuple[Call, Any]]:
        """Call every implementation with what it takes of what is known; yield those that answer, and their answers.

        What the caller puts into `known` meanwhile is what the next implementation is given. Each has noise of its
        own, split off `rng` by its name, whoever else draws. A PluginError names the one that fails.
        """
        # A step of a small network is short, and most answer nothing in it: asking them must cost next to nothing.
        call: Any
        try:
            for call in self.calls:
                if call.draws and rng is not None:
                    known["rng"] = rng.split(call.name, call.noise)
                answer = call.function(*call.arguments(known)) if call.takes else call.function()
                if answer is not None:
                    yield call, answer
        except RobustregError:
            raise
        except (Exception, SystemExit) as error:  # a plugin must not end the program
            what = f"{type(error).__name__}: {error}"
            raise PluginError(f"{_who(call.owner)} failed in {call.hook}(): {what}") from error


class Call:
    """One implementation of a training hook: what it takes, and what it may return.

    Attributes:
        function: the method of the regularizer.
        owner: the regularizer.
        name: its name.
        hook: the name of the hook.
        takes: the names of its arguments.
        arguments: picks them, in their order, from a dict of all that is known.
        draws: whether it takes noise.
        noise: to be made the noise of a step.
    """

    def __init__(self, owner: Any, hook: str, places: tuple[str, ...], named: tuple[str, ...]) -> None:
        self.function, self.hook, self.owner, self.name = getattr(owner, hook), hook, owner, owner.name
        if named:
            self.function = partial(_named, self.function, len(places), named)
        self.takes = (*places, *named)
        self.arguments = itemgetter(*self.takes) if len(self.takes) > 1 else partial(_picked, self.takes)
        self.draws, self.noise = "rng" in self.takes, Rng(0)

    def expect(self, value: Any, kind: type | tuple[type, ...]) -> Any:
        """Return the value it gave; a PluginError unless that is None or of the right kind."""
        if value is not None and not isinstance(value, kind):
            wanted = (kind if isinstance(kind, type) else kind[-1]).__name__
            got = type(value).__name__
            raise PluginError(f"{_who(self.owner)}: {self.hook}() must return {wanted} or None, got {got}")
        return value

    def pair(self, value: Any, x: Tensor, y: Tensor, *, whole: bool = False) -> tuple[Tensor, Tensor]:
        """Return the images and labels it gave in the place of `x` and `y`; a PluginError unless they are of that form.

        Looked at is what costs nothing in a step. Of a `whole` training set there must be as many images, and floats
        may replace bytes, and rows labels; in a batch any number of them will do.
        """
        if not (isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, Tensor) for part in value)):
            got = f"a tuple of {len(value)}" if isinstance(value, tuple) and len(value) != 2 else _shown(value)
            raise PluginError(f"{_who(self.owner)}: {self.hook}() must return the pair (x, y) or None, got {got}")
        images, labels = value
        if images.shape[1:] != x.shape[1:] or not (whole or images.dtype == x.dtype):
            want = f"images of shape {_form(x)}" + ("" if whole else f" and {_kind(x)}")
            raise PluginError(f"{_who(self.owner)}: {self.hook}() must return {want}, got {_shown(images)}")
        if not whole and (labels.shape[1:] != y.shape[1:] or labels.ndim != y.ndim):
            got = _shown(labels)
            raise PluginError(f"{_who(self.owner)}: {self.hook}() must return y of shape {_form(y)}, got {got}")
        if images.shape[:1] != labels.shape[:1] or (images.shape[0] != x.shape[0] if whole else not images.shape[0]):
            want = f"as many images, {len(x)}" if whole else "as many images as labels, and at least one"
            got = " and ".join(str(*part.shape[:1]) or "a scalar" for part in value)
            raise PluginError(f"{_who(self.owner)}: {self.hook}() must return {want}, got {got}")
        return value

    def factor(self, value: Any) -> float:
        """Return the factor of the learning rate that it gave; a PluginError unless that is finite."""
        found = float(self.expect(plain(value), (int, float)))
        if not isfinite(found):
            raise PluginError(f"{_who(self.owner)}: {self.hook}() must return a finite factor, got {found}")
        return found

    def replaced(self, tensors: Mapping[str, Tensor], value: Any) -> Mapping[str, Tensor]:
        """Return `tensors` with those in the place of others that it gave under their names."""
        found = self.expect(value, Mapping) or {}
        for name, tensor in found.items():
            if name not in tensors:
                raise PluginError(f"{_who(self.owner)}: {self.hook}() names {name!r}, which is no parameter")
            if not isinstance(tensor, Tensor) or tensor.shape != tensors[name].shape:
                got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                want = tuple(tensors[name].shape)
                raise PluginError(f"{_who(self.owner)}: {self.hook}() must give {name!r} the shape {want}, got {got}")
        return {**tensors, **found}

    def merge(self, terms: dict[str, Tensor], value: Any, *taken: str) -> None:
        """Add the named terms it gave to `terms`, whose names, and those that are `taken`, are others."""
        for name, term in (self.expect(value, Mapping) or {}).items():
            if name in terms or name in taken:
                raise PluginError(f"{_who(self.owner)}: penalty() names a term {name!r}, which another one already has")
            if not isinstance(term, Tensor) or term.ndim:
                shape = tuple(term.shape) if isinstance(term, Tensor) else type(term).__name__
                raise PluginError(f"{_who(self.owner)}: the penalty {name!r} must be a scalar tensor, got {shape}")
            terms[name] = term


def _form(tensor: Tensor) -> str:
    return f"(batch, {', '.join(map(str, tensor.shape[1:]))})" if tensor.ndim > 1 else "(batch,)"


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shown(value: Any) -> str:
    """Say what came without its numbers: tensors by kind and shape."""
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {' and '.join(map(_shown, value[:3]))}"
    return f"{_kind(value)} {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r:.80}"


def _picked(names: tuple[str, ...], known: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(known[name] for name in names)


def _named(function: Callable[..., Any], places: int, names: tuple[str, ...], *values: Any) -> Any:
    return function(*values[:places], **dict(zip(names, values[places:], strict=True)))


def plain(value: Any) -> Any:
    """A scalar tensor as a Python number: knobs and state are tensors, and so is what is computed from them."""
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 else value


def _who(plugin: object) -> str:
    """Name a regularizer with the distribution and version it comes from."""
    module = type(plugin).__module__
    found = metadata.packages_distributions().get(module.partition(".")[0], ())
    origin = f"{found[0]} {metadata.version(found[0])}" if found else module
    return f"regularizer {getattr(plugin, 'name', plugin)!r} ({origin})"
