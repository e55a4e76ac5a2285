"""Readings: how one number is read off a run, by a name that a recipe can hold.

max:KEY, min:KEY         over epochs, of a column of the history: `max:val_accuracy`
at_max:KEY, at_min:KEY   the epoch where that is first reached, counted from 1
first:KEY, last:KEY      of the first and of the last epoch
until:KEY                epochs until the column first reaches 1, every image right; none where it never does
epochs                   how many were trained
initial_norm, final_norm the Frobenius norm of all parameters together
attack:NAME              accuracy under an attack of the recipe at the headline eps
anything else            a measure of that name
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ..errors import UsageError
from .result import Row, SeedResult

Column = Sequence[float]


def _position(values: Column, wanted: float) -> float:
    return float(list(values).index(wanted) + 1)


_COLUMNS: Mapping[str, Callable[[Column], float | None]] = {
    "max": max,
    "min": min,
    "at_max": lambda values: _position(values, max(values)),
    "at_min": lambda values: _position(values, min(values)),
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "until": lambda values: _position(values, 1.0) if 1.0 in values else None,
}
_WORDS = {
    "max": "best {} of all epochs",
    "min": "lowest {} of all epochs",
    "at_max": "epoch of the best {}",
    "at_min": "epoch of the lowest {}",
    "first": "{} after the first epoch",
    "last": "{} after the last epoch",
    "until": "epochs until {} is 100 %",
}
_NAMES = {
    "clean_accuracy": "test accuracy",
    "fgsm_accuracy": "accuracy under FGSM",
    "robust_accuracy": "accuracy under the worst attack",
    "fgsm_cross_entropy_accuracy": "accuracy under FGSM on the cross-entropy",
    "fgsm_behind_accuracy": "accuracy under FGSM on the network behind the defence",
    "pgd_behind_accuracy": "accuracy under PGD on the network behind the defence",
    "test_error": "error against the truth",
    "initial_norm": "norm of the weights before training",
    "final_norm": "norm of the weights after training",
    "epochs": "epochs trained",
}
_HIGHER = ("accuracy",)
_LOWER = ("error", "nll", "loss")


def read(name: str, run: SeedResult) -> float | None:
    """Return the number, or None where the run has none: it failed, or never got there.

    Raises:
        UsageError: for a reading of no known form.
    """
    kind, colon, key = name.partition(":")
    if colon and kind in _COLUMNS:
        values = _column(run.history, key)
        return _COLUMNS[kind](values) if values else None
    if colon:
        raise UsageError(f"no reading is called {name!r}; there are {', '.join(_COLUMNS)}, each with :KEY")
    if name == "epochs":
        return float(len(run.history))
    if name in ("initial_norm", "final_norm"):
        norms = run.initial_norms if name == "initial_norm" else run.final_norms
        return math.sqrt(sum(norm**2 for norm in norms.values())) if norms else None
    value = run.numbers.get(name)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def in_words(name: str) -> str:
    """Return what a reader calls the reading."""
    kind, colon, key = name.partition(":")
    if not colon:
        return _NAMES.get(name, name.replace("_", " "))
    said = key.replace("val_", "validation ").replace("train_", "training ").replace("_", " ")
    return _WORDS[kind].format(said)


def is_share(name: str) -> bool:
    """Whether the number is a share in [0, 1], to be shown as a percentage."""
    return "accuracy" in name and not name.startswith(("at_", "until"))


def is_count(name: str) -> bool:
    """Whether the number counts epochs."""
    return name == "epochs" or name.startswith(("at_", "until"))


def higher_is_better(name: str) -> bool | None:
    """Whether a higher number is better; None where neither is."""
    if name.startswith(("at_", "until")) or "train_" in name:
        return None
    return True if name.endswith(_HIGHER) else False if name.endswith(_LOWER) else None


def is_naive(name: str) -> bool:
    """Whether the number is what an attack left that a defence may blind: shown, and never the judge."""
    return name.startswith("fgsm") or "_behind" in name


def _column(history: Sequence[Row], key: str) -> list[float]:
    return [row[key] for row in history if key in row and math.isfinite(row[key])]
