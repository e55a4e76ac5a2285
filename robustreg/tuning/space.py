"""What is searched for one arm: its spec with ranges, the learning rate, and perhaps the network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UsageError
from ..plugins import Catalogue
from ..regularizer import Knob
from ..resolve import Arm, arms_of, is_import, regularizer_of
from ..spec import Range, Setting, Spec, Term, parse, parse_term
from ..study import BASELINE
from .axis import Axis, Value, axis_of, searched

RATE = "learning_rate"  # the regularizer that sets the learning rate of one run
MODEL = "model"  # axes of the network are called model.width and so on

Point = tuple[float, ...]  # a place in the space, a number in [0, 1] for each axis


@dataclass(frozen=True)
class Space:
    """The search space of an arm.

    Attributes:
        arm: what the user typed, in canonical form.
        spec: the same, parsed.
        axes: what is searched; the learning rate first.
        model: the term of the network, where it has ranges.
    """

    arm: str
    spec: Spec
    axes: tuple[Axis, ...]
    model: Term | None = None

    def values(self, point: Point) -> dict[str, Value]:
        """Return the value of every axis at a point, by its name."""
        return {axis.name: axis.at(u) for axis, u in zip(self.axes, point, strict=True)}

    def arm_at(self, values: Mapping[str, Value], catalogue: Catalogue) -> Arm:
        """Return the arm with these values, its learning rate a regularizer of it; what has no value is at its default.

        Without a learning rate among the values it is that of the recipe.
        """
        names = {axis.name for axis in self.axes}
        filled = [_filled(term, term.name, names, values) for term in self.spec.terms]
        if RATE in values:
            filled = [term for term in filled if term.name != BASELINE]
            filled.append(Term(RATE, (Setting(None, (values[RATE],)),)))
        return arms_of([Spec(tuple(filled))], catalogue)[0]

    def model_at(self, values: Mapping[str, Value]) -> str | None:
        """Return the network with these values; None where none is searched."""
        if self.model is None:
            return None
        return str(_filled(self.model, MODEL, {axis.name for axis in self.axes}, values))


def spaces_of(
    specs: Sequence[str | Spec], rate: Axis, model: tuple[Term, tuple[Axis, ...]] | None, catalogue: Catalogue
) -> list[Space]:
    """Return the search space of every arm, the baseline's first; an arm without a range is searched over the rest.

    Raises:
        UsageError: for an unknown name, a bad range, a learning rate in a spec, or two specs that are one; the column
            is marked.
    """
    found: dict[str, Space] = {}
    term, of_model = model or (None, ())
    for item in (BASELINE, *specs):
        spec = parse(item) if isinstance(item, str) else item
        if not isinstance(spec, Spec):
            raise UsageError(f"tune takes specs such as 'l1:1e-6..1e-1', got {type(item).__name__}")
        axes = [rate]
        for one in spec.terms:
            if one.name == RATE:
                hint = "give its range for all arms: --learning-rates 0.01..0.2"
                raise one.at.error("the learning rate is searched for every arm alike", hint)
            axes += _axes(one, catalogue)
        found[str(spec)] = Space(str(spec), spec, (*axes, *of_model), term)
    return list(found.values())


def rate_axis(text: str, catalogue: Catalogue) -> Axis:
    """Return the axis of the learning rate that `0.005..0.2`, a list or one number says.

    Raises:
        UsageError: for anything else; the column is marked.
    """
    term = parse_term(f"{RATE}:{text}")
    if len(term.settings) != 1 or term.settings[0].key is not None:
        raise UsageError(f"learning rates are a range such as 0.005..0.2 or a list such as 0.01,0.05; got {text!r}")
    setting = term.settings[0]
    if searched(setting):
        found = _axes(term, catalogue)[0]
    else:
        regularizer_of(term, catalogue)  # or it says what is wrong
        found = axis_of(RATE, setting, log=True, whole=False)
    if 0 in found.values:
        raise setting.at.error("a learning rate is above 0", "example: 0.005..0.2")
    return found


def model_axes(model: Any, catalogue: Catalogue) -> tuple[Term, tuple[Axis, ...]] | None:
    """Return a network's term and what is searched of it, for `mlp:width=32..256,depth=1..4`; None for nothing.

    Raises:
        UsageError: for a range over an option that is a list, no number, or unknown; the column is marked.
    """
    if not isinstance(model, str) or is_import(model, catalogue):
        return None
    term = parse_term(model)
    source = catalogue.offers["models"].get(term.name)
    if source is None:
        return None
    axes = []
    for setting in term.settings:
        default = _option(setting, source.build)
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        if any(isinstance(value, Range) for value in setting.values) and not number:
            raise setting.at.error(f"{term.name}: only an option that is one number can be searched", "width=32..256")
        if number and searched(setting):
            axes.append(axis_of(_name(MODEL, setting), setting, log=None, whole=isinstance(default, int)))
    return (term, tuple(axes)) if axes else None


def _axes(term: Term, catalogue: Catalogue) -> list[Axis]:
    found = []
    for setting in term.settings:
        if not searched(setting):
            continue
        for index, value in enumerate(setting.values):  # both ends, so that whatever lies between is allowed
            for end in (value.low, value.high) if isinstance(value, Range) else (value,):
                one = replace(setting, values=(end,), values_at=(setting.place(index),))
                regularizer_of(replace(term, settings=(one,)), catalogue)
        knob = _knob(catalogue.get("regularizers", term.name).knobs, setting.key or "strength")
        whole = isinstance(knob.default, int) and not isinstance(knob.default, bool)
        found.append(axis_of(_name(term.name, setting), setting, log=knob.log, whole=whole))
    rest = tuple(setting for setting in term.settings if not searched(setting))
    regularizer_of(replace(term, settings=rest), catalogue)
    return found


def _knob(knobs: Mapping[str, Knob], key: str) -> Knob:
    return next(knob for name, knob in knobs.items() if key in (name, knob.symbol))


def _name(owner: str, setting: Setting) -> str:
    return owner if setting.key is None else f"{owner}.{setting.key}"


def _filled(term: Term, owner: str, names: Collection[str], values: Mapping[str, Value]) -> Term:
    """A term with values in the place of what is searched, which `names` are; what has no value is left out."""
    settings = []
    for setting in term.settings:
        name = _name(owner, setting)
        if name not in names:
            settings.append(setting)
        elif name in values:
            settings.append(replace(setting, values=(values[name],), values_at=()))
    return replace(term, settings=tuple(settings))


def _option(setting: Setting, build: Callable[..., Any]) -> Any:
    """The default of the option that a setting of a network is about; an empty list where there is none such."""
    options = {each.name: each.default for each in inspect.signature(build).parameters.values()
               if each.kind is each.KEYWORD_ONLY}  # fmt: skip
    key = next(iter(options), "") if setting.key is None else setting.key.replace("-", "_")
    return options.get(key, ())
