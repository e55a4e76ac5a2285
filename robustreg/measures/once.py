"""Values that several measures share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from .subject import Subject

T = TypeVar("T")


def once(compute: Callable[[Subject], T]) -> Callable[[Subject], T]:
    """Return the same function of a subject, which keeps its value with the subject and looks it up the next time."""
    key = f"{compute.__module__}.{compute.__qualname__}"

    @wraps(compute)
    def kept(subject: Subject) -> T:
        values = vars(subject)  # where the cached properties are, too
        if key not in values:
            values[key] = compute(subject)
        found: T = values[key]
        return found

    return kept
