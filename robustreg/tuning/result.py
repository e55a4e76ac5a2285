"""What came of a search: every trial, both selections on test images, and what selecting has cost."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import statistics
from ..study import BASELINE, Record
from ..study.comparison import ABOUT_ALL
from ..study.differences import against_baseline
from ..study.protocol import PROTOCOLS
from .space import RATE, Space
from .trial import CRITERIA, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT = "default"  # what the row of the declared default strength is selected by
SELECTIONS = (*CRITERIA, DEFAULT)


@dataclass(frozen=True)
class Final:
    """A configuration that was measured on test images.

    Attributes:
        arm: the arm as it was typed.
        by: "clean" or "robust", the validation accuracy that selected it, or "default".
        spec: the arm that was trained.
        model: the network.
        trial: what selected it; None for the default.
        records: its runs, one a seed.
        used: how often the test images were used for this configuration.
    """

    arm: str
    by: str
    spec: str
    model: str
    trial: Trial | None
    records: list[Record] = field(repr=False)
    used: int = 1

    def values(self, what: str) -> dict[int, float]:
        """Return the clean or the robust accuracy on test images by seed, of the runs that have one."""
        found = {record.seed: record.measures.get(CRITERIA[what]) for record in self.records}
        return {seed: float(value) for seed, value in found.items() if isinstance(value, (int, float))}

    def test(self, what: str) -> statistics.Interval | None:
        """Return mean, spread and interval over seeds of an accuracy on test images; None where there is none."""
        values = list(self.values(what).values())
        return statistics.mean_interval(values) if values else None

    @property
    def bias(self) -> float | None:
        """The validation accuracy that selected it minus the same accuracy on test images; None for the default."""
        tested = None if self.trial is None else self.test(self.by)
        return None if self.trial is None or tested is None else self.trial.score(self.by) - tested.mean

    @property
    def red(self) -> dict[str, str]:
        """Every red flag, by name, with what it says: a trust flag, or runs that were lost."""
        found = {
            flag["flag"]: flag["says"] for record in self.records for flag in record.trust if flag["level"] == "red"
        }
        for record in self.records:
            if record.status != "ok":
                found.setdefault(record.status, f"a run {record.status}: {record.reason}")
        return found


@dataclass(frozen=True)
class Compute:
    """What the draws of an arm bought, at equal epochs and at equal compute.

    Attributes:
        draws: how many there were.
        cost: mean gradient passes of a trial, in those of the baseline; None where they are not known.
        affordable: draws that the passes of the whole search of the baseline would have paid for, at most `draws`.
        expected: by criterion the expected best validation accuracy of all draws, and of the affordable ones.
    """

    draws: int
    cost: float | None
    affordable: int
    expected: dict[str, tuple[float, float]]


@dataclass
class Tuning:
    """A finished search.

    Attributes:
        study: what was searched, as plain values (`Search.describe`).
        spaces: the search space of every arm, the baseline's first.
        trials: every draw of every arm, those that diverged, collapsed or failed included.
        finals: what was measured on test images: for every arm both selections and the default.
    """

    study: dict[str, Any]
    spaces: tuple[Space, ...]
    trials: dict[str, list[Trial]]
    finals: list[Final]

    @property
    def arms(self) -> list[str]:
        """The arms as they were typed, the baseline first."""
        return [space.arm for space in self.spaces]

    def final(self, arm: str, by: str) -> Final | None:
        """Return what a criterion, or "default", selected for an arm; None where no trial could be selected."""
        return next((final for final in self.finals if (final.arm, final.by) == (arm, by)), None)

    @cached_property
    def curves(self) -> dict[str, dict[str, list[float]]]:
        """By arm and criterion the expected best validation accuracy of 1, 2, ... draws; a lost trial counts 0."""
        return {
            arm: {by: statistics.expected_maximum([trial.score(by) for trial in trials]) for by in CRITERIA}
            for arm, trials in self.trials.items()
        }

    @cached_property
    def compute(self) -> dict[str, Compute]:
        """By arm what the budget bought, at equal epochs and at equal compute."""
        mean = {arm: _mean([t.passes for t in trials if t.passes]) for arm, trials in self.trials.items()}
        base = mean[BASELINE]
        found = {}
        for arm, trials in self.trials.items():
            cost = None if base is None or mean[arm] is None else mean[arm] / base  # type: ignore[operator]
            whole = len(self.trials[BASELINE])
            paid = len(trials) if cost is None else min(len(trials), max(1, math.floor(whole / cost + 1e-9)))
            expected = {by: (curve[-1], curve[paid - 1]) for by, curve in self.curves[arm].items()}
            found[arm] = Compute(len(trials), cost, paid, expected)
        return found

    @cached_property
    def differences(self) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
        """By arm and selection, for clean and robust accuracy on test images: the difference to the baseline that was
        selected alike, paired by seed, with interval, tests and word."""
        found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for by in SELECTIONS:
            rows = {final.arm: final for final in self.finals if final.by == by}
            base = rows.pop(BASELINE, None)
            if base is None:
                continue
            for what, measure in CRITERIA.items():
                pairs = {arm: _pairs(final, base, what) for arm, final in rows.items()}
                against = against_baseline(
                    measure,
                    {arm: pair for arm, pair in pairs.items() if pair[0]},
                    higher=True,
                    tested=PROTOCOLS[self.study["protocol"]].p_values,
                    step=1 / max(1, self.study["test_images"]),
                    blocked={arm: _blocked(final, what) for arm, final in rows.items()},
                )
                for arm, difference in against.items():
                    found.setdefault((arm, by), {})[what] = difference
        return found

    def verdict(self) -> list[str]:
        """Return what the search says, in sentences."""
        from .verdict import sentences

        return sentences(self)

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dict a trial."""
        rows = []
        for arm, trials in self.trials.items():
            for trial in trials:
                row: dict[str, Any] = {
                    "arm": arm,
                    "draw": trial.draw,
                    "spec": trial.spec,
                    "model": trial.model,
                    **trial.values,
                }
                row |= {"status": trial.status, "reason": trial.reason, "val_clean": trial.clean}
                rows.append(row | {"val_robust": trial.robust, "gradient_passes": trial.passes})
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the search as plain values, in the documented JSON form."""
        from .document import document

        return document(self)

    def plot(self) -> Figure:
        """Return the expected-maximum curves as a figure."""
        from ..report.figures.expected_maximum import expected_maximum

        return expected_maximum(self)

    def __str__(self) -> str:
        from .table import tables_text

        return "\n\n".join([tables_text(self), *self.verdict()])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def rate_of(final: Final, study: dict[str, Any]) -> float:
    """Return the learning rate that a configuration was trained with."""
    drawn = None if final.trial is None else final.trial.values.get(RATE)
    return float(study["recipe"]["learning_rate"] if drawn is None else drawn)


def _pairs(final: Final, base: Final, what: str) -> tuple[Sequence[float], Sequence[float]]:
    mine, theirs = final.values(what), base.values(what)
    seeds = [seed for seed in mine if seed in theirs]
    return [mine[seed] for seed in seeds], [theirs[seed] for seed in seeds]


def _blocked(final: Final, what: str) -> bool:
    return bool(final.red if what == "robust" else final.red.keys() & ABOUT_ALL)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
