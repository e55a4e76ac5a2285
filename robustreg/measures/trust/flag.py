"""What a trust flag is: a name, a level, a number, and one plain sentence."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

Flag = dict[str, Any]  # flag: its name; level: "green", "amber" or "red"; value: the number looked at; says: a sentence


def flagged(name: str, level: str, value: float, says: str, caution: str) -> Flag:
    """Return a flag whose sentence is `says`, followed by `caution` unless the level is green."""
    sentence = says if level == "green" else f"{says}: {caution}"
    return {"flag": name, "level": level, "value": value, "says": f"{sentence[0].upper()}{sentence[1:]}."}


def graded(value: float, amber: float, red: float = math.inf) -> str:
    """Return "red" for a value above `red`, "amber" for one above `amber`, else "green"."""
    return "red" if value > red else "amber" if value > amber else "green"


def share(which: Tensor) -> float:
    """Return the share of True among booleans, 0 of none."""
    return float(which.double().mean()) if which.numel() else 0.0


def standard_error(rate: float, n: int) -> float:
    """Return the standard error of a share `rate` seen among `n` points; 0 of none."""
    return math.sqrt(rate * (1 - rate) / n) if n else 0.0


def paired(change: Tensor) -> tuple[float, float]:
    """Return the mean of differences -1, 0 or 1, one a point, and that mean in its standard errors.

    Without a spread the mean is 0, or of all points alike: 0 standard errors, or infinitely many.
    """
    if not change.numel():
        return 0.0, 0.0
    change = change.double()
    mean, error = float(change.mean()), float(change.std(correction=0)) / len(change) ** 0.5
    return mean, mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
