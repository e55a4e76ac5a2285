"""The numbers behind the figures: values, curves and spreads over seeds, whatever is missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..study import Comparison, Record

TRUE = "true"
MEMORIZED = "memorized_fraction"


@dataclass(frozen=True)
class Spread:
    """A mean over `n` seeds and how far it may be off: a 95 % t interval from 3 seeds on, minimum to maximum of 2,
    and the mean alone for 1."""

    mean: float
    low: float
    high: float
    n: int


def spread(values: Iterable[float]) -> Spread | None:
    """Return mean and spread of the finite values; None if there is none."""
    from ..statistics import mean_interval

    found = [float(value) for value in values if _finite(value)]
    if not found:
        return None
    if len(found) < 3:
        return Spread(sum(found) / len(found), min(found), max(found), len(found))
    interval = mean_interval(found)
    assert interval.low is not None and interval.high is not None
    return Spread(interval.mean, interval.low, interval.high, interval.n)


def spread_words(numbers: Iterable[int], what: str) -> str:
    """Return what bands, crosses or bars (`what`) are, for these numbers of seeds."""
    kinds = {3: "95 % t interval over seeds", 2: "minimum to maximum of 2 seeds", 1: "none for one seed"}
    found = sorted({min(number, 3) for number in numbers}, reverse=True)
    return f"{what}: {', '.join(kinds[kind] for kind in found)}." if found else ""


def finished(comparison: Comparison, arm: str, condition: str = TRUE) -> list[Record]:
    """Return the finished runs of an arm under a label condition, in the order of the seeds."""
    runs = (run for run in comparison.of(arm) if run.status == "ok" and run.label_condition == condition)
    return sorted(runs, key=lambda run: run.seed)


def noisiest(comparison: Comparison) -> str | None:
    """Return the label condition with the most noise; None when a study has true labels only."""
    conditions = [name for name in comparison.study["label_conditions"] if name != TRUE]
    return conditions[-1] if conditions else None


def condition_of(comparison: Comparison, measure: str) -> str | None:
    """Return the label condition whose runs have a say on a measure: random labels for memorization, else the true."""
    return noisiest(comparison) if measure in (MEMORIZED, "random_label_accuracy", "recovered_fraction") else TRUE


def values(comparison: Comparison, arm: str, measure: str) -> dict[int, float]:
    """Return the finite values of a measure by seed, of that condition alone: an arm whose runs on true labels were
    all lost has no clean accuracy, whatever its other runs say."""
    condition = condition_of(comparison, measure)
    found = comparison.values(arm, measure, condition) if condition else {}
    return {seed: value for seed, value in found.items() if _finite(value)}


def curve(comparison: Comparison, arm: str, measure: str) -> dict[float, Spread]:
    """Return a measure that is a curve, of the runs on true labels: spreads over seeds, by its keys as numbers."""
    found = gathered(run.measures.get(measure) for run in finished(comparison, arm))
    return dict(sorted((float(key), each) for key, each in found.items()))


def gathered(mappings: Iterable[Any]) -> dict[str, Spread]:
    """Return the spread of every key over mappings, one a seed; what is no mapping has no values."""
    found: dict[str, list[float]] = {}
    for each in mappings:
        for key, value in each.items() if isinstance(each, Mapping) else ():
            found.setdefault(key, []).append(value)
    spreads = {key: spread(values) for key, values in found.items()}
    return {key: each for key, each in spreads.items() if each is not None}


def histories(comparison: Comparison, arm: str, name: str, condition: str) -> list[list[float]]:
    """Return a metric by epoch, one list a run; not-a-number where an epoch does not have it."""
    runs = finished(comparison, arm, condition)
    found = [[_number(row.get(name)) for row in run.history] for run in runs]
    return [each for each in found if any(map(math.isfinite, each))]


def mean_history(runs: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean by epoch for as long as every run went on: beyond, the mean would jump as runs drop out."""
    return [sum(row) / len(row) for row in zip(*runs, strict=False)]


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names of the points that no other equals in both coordinates and beats in one, by the first."""
    from ..statistics import pareto_front

    return pareto_front(points)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
