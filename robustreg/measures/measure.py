"""What a plugin offers as a measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .subject import Subject

Value = float | dict[str, float]


@dataclass(frozen=True)
class Measure:
    """A named number, or named numbers, of a trained model.

    Args:
        name: lower-case word, unique among the installed measures.
        compute: from the subject to a number, to numbers by key, or to None where the measure does not apply (then it
            is left out).
        higher_is_better: None where neither is.
        about: one sentence, with the unit or range.
        attacks: whether it looks at what attacks do; a study that wants no such measure runs none.
        endpoint: whether studies declare it beforehand as one of the numbers that verdicts are about.
    """

    name: str
    compute: Callable[[Subject], Value | None]
    higher_is_better: bool | None
    about: str
    attacks: bool = False
    endpoint: bool = False
