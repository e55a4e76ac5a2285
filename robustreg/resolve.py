"""From what was typed to the thing itself: arms, models, and the errors that point at the column."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from .attacks.attack import Attack
from .errors import PluginError, RobustregError, UsageError, suggest
from .plugins import Catalogue
from .regularizer import Knob, Regularizer
from .spec import Range, Setting, Spec, Term, expand, parse, parse_term

Buildable = str | nn.Module | Callable[..., nn.Module]


@dataclass(frozen=True)
class Arm:
    """One named combination of regularizers; `name` is its canonical spec, with the user's label if there is one."""

    name: str
    regularizers: tuple[Regularizer, ...]

    def settings(self) -> list[dict[str, Any]]:
        """Return name and knobs of each regularizer as plain values."""
        return [member.settings() for member in self.regularizers]


def arms_of(items: Iterable[str | Spec | Regularizer | Sequence[Regularizer]], catalogue: Catalogue) -> list[Arm]:
    """Return the arms that specs or regularizer instances stand for; a grid becomes several; doubles are kept once.

    Raises:
        UsageError: for a bad spec, an unknown name or knob, or a value out of range; the column is marked.
    """
    arms: dict[str, Arm] = {}
    for item in items:
        if isinstance(item, (str, Spec)):
            spec = parse(item) if isinstance(item, str) else item
            found = [_arm(one, catalogue) for one in expand(spec, scale=_scale(catalogue))]
        else:
            members = _members(item)
            found = [Arm("+".join(canonical(member) for member in members), members)]
        arms.update({arm.name: arm for arm in found})
    return list(arms.values())


def _members(item: object) -> tuple[Regularizer, ...]:
    found = (item,) if not isinstance(item, (list, tuple)) else tuple(item)
    for member in found:
        if not isinstance(member, Regularizer):
            hint = f"; make one: {member.__name__}()" if isinstance(member, type) else ""
            raise UsageError(f"an arm is a spec, a regularizer or a list of regularizers, got {member!r:.80}{hint}")
    return found


def canonical(member: Regularizer) -> str:
    """Return the spec term of a regularizer: its strength, and the knobs that are not at their default."""
    settings, knobs = member.settings(), member.knobs
    parts = [] if knobs["strength"].high == knobs["strength"].low else [_show(settings["strength"])]
    parts += [f"{key}={_show(settings[key])}" for key, knob in knobs.items() if key != "strength"
              and settings[key] != knob.default]  # fmt: skip
    return str(parse(f"{member.name}:{','.join(parts)}" if parts else member.name))


def regularizer_of(term: Term, catalogue: Catalogue) -> Regularizer:
    """Return the regularizer a single-valued term names."""
    try:
        kind: type[Regularizer] = catalogue.get("regularizers", term.name)
    except UsageError as error:
        raise term.at.error(str(error)) from None
    values: dict[str, Any] = {}
    for setting in term.settings:
        key = _knob_name(kind, setting)
        if key in values:
            raise setting.at.error(f"{term.name}: {key} is set twice")
        try:
            value = _plain(setting.values[0])
            kind.knobs[key].check(value, term.name)
        except UsageError as error:
            raise setting.place().error(str(error)) from None
        values[key] = value
    try:
        return kind(**values)
    except RobustregError:
        raise
    except Exception as error:
        origin = catalogue.origins["regularizers", term.name]
        raise PluginError(f"plugin {origin}: {term.name} cannot be made: {type(error).__name__}: {error}") from error


def attack_of(term: Term, catalogue: Catalogue) -> Attack:
    """Return the attack a term names, with its settings: `pgd:steps=100,loss=margin`."""
    try:
        attack: Attack = catalogue.get("attacks", term.name)
    except UsageError as error:
        raise term.at.error(str(error)) from None
    kept = ("eps", "norm", "seed", "samples")
    return attack.with_settings(str(term), **_bind(term, attack.run, without=kept))


def model_of(model: Buildable, catalogue: Catalogue) -> tuple[str, Callable[[tuple[int, ...], int], nn.Module]]:
    """Return the name of a model and a function from image shape and number of classes to a new network.

    Args:
        model: `mlp:hidden=64`, `package.module:callable`, a callable, or a network. A callable gets `shape` and
            `classes` if it has parameters of these names.
        catalogue: where names are looked up.
    """
    if isinstance(model, nn.Module):
        return type(model).__name__, lambda shape, classes: model
    if not isinstance(model, str):
        return getattr(model, "__qualname__", type(model).__name__), lambda shape, classes: _call(model, shape, classes)
    if is_import(model, catalogue):
        function = import_object(model)
        return model, lambda shape, classes: _call(function, shape, classes)
    term = parse_term(model)
    try:
        source = catalogue.get("models", term.name)
    except UsageError as error:
        raise term.at.error(str(error), "or package.module:callable") from None
    options = _bind(term, source.build)
    return str(term), lambda shape, classes: source.build(shape, classes, **options)


def import_object(path: str) -> Any:
    """Return what `package.module:name` points at, looking in the current folder too."""
    module, _, name = path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{path}: {error}; expected package.module:callable, importable from here") from error
    except Exception as error:
        raise UsageError(f"{path}: importing {module} failed: {type(error).__name__}: {error}") from error
    return found


def is_import(text: str, catalogue: Catalogue) -> bool:
    """Tell whether a text is `package.module:callable` and not the name of a model with a setting."""
    module, colon, name = text.partition(":")
    return bool(colon) and module not in catalogue.offers["models"] and name.replace(".", "").isidentifier()


def _call(function: Any, shape: tuple[int, ...], classes: int) -> nn.Module:
    if isinstance(function, nn.Module):
        return function
    given = {"shape": shape, "classes": classes}
    try:
        taken = inspect.signature(function).parameters
        made = function(**{key: value for key, value in given.items() if key in taken})
    except Exception as error:
        raise UsageError(f"the model function failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"the model function must return a torch.nn.Module, got {type(made).__name__}")
    return made


def _arm(spec: Spec, catalogue: Catalogue) -> Arm:
    members = tuple(regularizer_of(term, catalogue) for term in spec.terms)
    name = "+".join(canonical(member) for member in members)
    return Arm(f"{spec.label}@{name}" if spec.label else name, members)


def _knob_name(kind: type[Regularizer], setting: Setting) -> str:
    if setting.key is None:
        return "strength"
    names: dict[str, str] = {}
    for name, knob in kind.knobs.items():
        names |= {name: name} | ({knob.symbol: name} if knob.symbol else {})
    if setting.key not in names:
        known = ", ".join(names)
        raise setting.at.error(f"{kind.name} has no knob {setting.key!r}; it has {known}.{suggest(setting.key, names)}")
    return names[setting.key]


def _scale(catalogue: Catalogue) -> Callable[[str, str | None], Any]:
    def scale(name: str, key: str | None) -> str:
        kind = catalogue.offers["regularizers"].get(name)
        knobs: Mapping[str, Knob] = kind.knobs if kind else {}
        found = [knob for knob in knobs.values() if (key or "strength") in (knob.name, knob.symbol)]
        return "log" if found and found[0].log else "linear"

    return scale


def _bind(term: Term, function: Callable[..., Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a term's settings as keyword arguments of `function`, in the types of its defaults."""
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in without
    }
    values: dict[str, Any] = {}
    for setting in term.settings:
        key = next(iter(options), None) if setting.key is None else setting.key.replace("-", "_")
        if key not in options:
            known = ", ".join(options) or "none"
            hint = suggest(str(setting.key), options)
            raise setting.at.error(f"{term.name} has no option {setting.key!r}; it has {known}.{hint}")
        default = options[key]
        if isinstance(default, tuple):
            values[key] = tuple(_cast(setting, index, default[0]) for index in range(len(setting.values)))
        elif len(setting.values) == 1:
            values[key] = _cast(setting, 0, default)
        else:
            raise setting.at.error(f"{term.name}: {key} takes one value")
    return values


def _cast(setting: Setting, index: int, default: Any) -> Any:
    value = _plain(setting.values[index])
    kind = type(default)
    fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not fits:
        raise setting.place(index).error(f"expected {_WORDS.get(kind, kind.__name__)}, got {value!r}")
    if kind is int and value < 1:
        raise setting.place(index).error(f"expected a whole number from 1, got {value}")
    return value


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def _plain(value: Any) -> Any:
    if isinstance(value, Range):
        raise UsageError(f"a range {value} needs a number of points")
    return value if isinstance(value, (int, float, bool, str)) else float(value)


def _show(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)
