"""What measures return, as plain numbers: a measure may compute with any library, and its value has to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from .measure import Value

EXPECTED = "a number, numbers by key, or None where it does not apply"


def plain_value(found: object) -> Value | None:
    """Return a number as a Python number, and numbers by key as a dict of these; None of None and of no number at all.

    Numbers are those of Python and NumPy, and arrays and tensors of no dimension, on any device. Keys are text, or
    numbers, which become text as in JSON.

    Raises:
        TypeError: for anything else; its message says what came.
    """
    if not isinstance(found, Mapping):
        return None if found is None else _number(found)
    named = {str(key if isinstance(key, str) else _number(key)): _number(value) for key, value in found.items()}
    if len(named) < len(found):
        raise TypeError(f"keys that are the same text: {', '.join(map(repr, found))}")
    return named or None


def _number(found: Any) -> float:
    value = found.item() if getattr(found, "shape", None) == () and hasattr(found, "item") else found
    if not isinstance(value, Real):
        raise TypeError(_said(found))
    try:
        as_float = float(value)
    except OverflowError:
        raise TypeError(f"{_said(found)}, which no float holds") from None
    return int(value) if isinstance(value, Integral) else as_float


def _said(found: Any) -> str:
    shape = getattr(found, "shape", None)
    return f"{type(found).__name__} {found!r:.40}" if shape is None else f"{type(found).__name__} of shape {(*shape,)}"
