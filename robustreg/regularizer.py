"""The base of all regularizers, and the knobs they declare."""

from __future__ import annotations

import math
from typing import Any, ClassVar, overload

import torch
from torch import Tensor, nn

from .errors import UsageError, suggest

KINDS = ("weights", "network", "augmentation", "labels and outputs", "smooth in the input", "adversarial", "schedule")
OTHER = "other"


class Knob:
    """A setting of a regularizer, declared once as a class attribute.

    A float knob becomes a buffer of the regularizer (a 0-d float64 tensor), so that it is saved, moved and stacked by
    torch; a knob whose default is an int, a bool or a word stays a plain Python value.

    Args:
        default: the value when nothing is said; its type is the knob's type.
        low: smallest value allowed.
        high: largest value allowed.
        symbol: the name the field uses for it, accepted beside the attribute's own name (`p`, `eps`, `lambda`).
        log: True when a search or a grid over it should be spaced logarithmically.
        choices: the words allowed, for a knob that is a word.
        doc: one line with unit and meaning.
    """

    def __init__(
        self,
        default: float | int | bool | str,
        *,
        low: float = 0.0,
        high: float = math.inf,
        symbol: str | None = None,
        log: bool = False,
        choices: tuple[str, ...] = (),
        doc: str = "",
    ) -> None:
        self.default, self.low, self.high = default, low, high
        self.symbol, self.log, self.choices, self.doc = symbol, log, choices, doc
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Knob: ...
    @overload
    def __get__(self, instance: nn.Module, owner: type) -> Any: ...
    def __get__(self, instance: nn.Module | None, owner: type) -> Any:
        if instance is None:
            return self
        buffers = instance.__dict__.get("_buffers", {})
        if self.name in buffers:
            return buffers[self.name]
        try:
            return instance.__dict__["_settings"][self.name]
        except KeyError:
            raise AttributeError(self.name) from None

    @property
    def is_tensor(self) -> bool:
        """Whether the knob is kept as a buffer."""
        return isinstance(self.default, float)

    def check(self, value: Any, owner: str) -> float | int | bool | str:
        """Return `value` as the knob's type, or raise a UsageError that names range and owner."""
        what = f"{owner}: {self.symbol or self.name}"
        if self.choices:
            if value not in self.choices:
                hint = suggest(str(value), self.choices)
                raise UsageError(f"{what} must be one of {', '.join(self.choices)}, got {value!r}.{hint}")
            return str(value)
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise UsageError(f"{what} must be true or false, got {value!r}")
            return value
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise UsageError(f"{what} must be a number, got {value!r}") from None
        if isinstance(value, bool) or not self.low <= number <= self.high or math.isinf(number):
            raise UsageError(f"{what} must be in {self.range()}, got {value}")
        if isinstance(self.default, int):
            if number != int(number):
                raise UsageError(f"{what} must be a whole number, got {value}")
            return int(number)
        return number

    def range(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return " | ".join(self.choices)
        if isinstance(self.default, bool):
            return "true | false"
        return f"[{self.low:g}, {self.high:g}{')' if math.isinf(self.high) else ']'}"


class Regularizer(nn.Module):
    """Anything that changes training so that the model generalizes or withstands attack better.

    A subclass sets `name`, declares its knobs, and implements the hooks it needs from `hookspecs.Training`. Its state
    is whatever `state_dict` sees. `strength` is its main knob; 0 is off, and off is bitwise the unregularized run.

    Args:
        strength: the main knob; the declared default when None.
        name: another name, for two instances of one regularizer in a run.
        **knobs: the other declared knobs.

    Raises:
        UsageError: for an unknown knob or a value out of range.
    """

    name: str = ""
    kind: ClassVar[str] = OTHER  # or one of KINDS: what it acts on, for lists and colours
    strength = Knob(1.0)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    at_inference: ClassVar[bool] = False  # whether finish() changes how the network computes, and not its weights alone
    knobs: ClassVar[dict[str, Knob]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        found: dict[str, Knob] = {}
        for base in reversed(cls.__mro__):
            found.update({key: value for key, value in vars(base).items() if isinstance(value, Knob)})
        cls.knobs = {"strength": found.pop("strength"), **found}

    def __init__(self, strength: float | None = None, *, name: str | None = None, **knobs: Any) -> None:
        super().__init__()
        if name is not None:
            self.name = name
        if not self.name:
            raise UsageError(f"{type(self).__name__}: a regularizer needs a `name`, as a class attribute")
        values = {"strength": strength, **knobs}
        unknown = set(values) - set(self.knobs)
        if unknown:
            wrong = min(unknown)
            known = ", ".join(self.knobs)
            raise UsageError(f"{self.name} has no knob {wrong!r}; it has {known}.{suggest(wrong, self.knobs)}")
        self._settings: dict[str, float | int | bool | str] = {}
        for key, knob in self.knobs.items():
            given = values.get(key)
            value = knob.check(knob.default if given is None else given, self.name)
            if knob.is_tensor:
                self.register_buffer(key, torch.tensor(value, dtype=torch.float64))
            self._settings[key] = value

    def settings(self) -> dict[str, float | int | bool | str]:
        """Return the name and every knob as plain values, for records."""
        return {"name": self.name, **self._settings}

    def extra_repr(self) -> str:
        """Show the knobs in `repr`."""
        return ", ".join(f"{key}={value}" for key, value in self._settings.items())


def scaled(strength: Tensor, value: Tensor) -> Tensor:
    """Return `strength * value` in the dtype of `value`: a float64 knob must not promote a float32 loss."""
    return strength.to(value.dtype) * value
