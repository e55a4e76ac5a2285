"""The comparison of arms over seeds: summaries, paired differences, trust, and the verdict."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import statistics
from ..errors import UsageError, suggest
from . import unmeasured
from .card import card
from .conditions import LabelCondition
from .differences import against_baseline
from .plan import BASELINE
from .protocol import PROTOCOLS
from .record import Record
from .verdict import sentences

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

LEVELS = ("green", "amber", "red")
TRUE = str(LabelCondition(0.0))
ABOUT_ALL = {  # red here blocks every measure
    "diverged", "failed", "constant_predictor", "chance_band", "sandwich", "stochastic_forward", "batch_dependence",
}  # fmt: skip
PLANE = ("clean_accuracy", "robust_accuracy")  # where the Pareto front is drawn


@dataclass
class Comparison:
    """A finished study.

    Attributes:
        study: what was run, as plain values (`Plan.describe`).
        arms: names, the baseline first.
        measures: names, and whether higher is better (None: neither).
        records: every run, those that failed or diverged included.
    """

    study: dict[str, Any]
    arms: list[str]
    measures: dict[str, bool | None]
    records: list[Record]

    def __post_init__(self) -> None:
        splits: dict[int, str] = {}
        for record in self.records:
            if splits.setdefault(record.seed, record.split_hash) != record.split_hash:
                raise UsageError(f"the runs of seed {record.seed} saw different splits; they cannot be compared")

    def of(self, arm: str) -> list[Record]:
        """Return the runs of an arm."""
        return list(self._by_arm.get(arm, ()))

    @property
    def seeds(self) -> list[int]:
        """The seeds of which there is a run: all, once a study is finished."""
        seen = {record.seed for record in self.records}
        return [seed for seed in self.study["seeds"] if seed in seen]

    @cached_property
    def _by_arm(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.arm, []).append(record)
        return found

    def values(self, arm: str, measure: str, condition: str | None = None) -> dict[int, float]:
        """Return a measure by seed, from the runs that finished, under a label condition.

        Without a condition: the true labels if any run has the measure there, else the noisiest labels where one has;
        the same condition for every arm, whatever runs it lost.
        """
        condition = condition or self._condition(measure)
        found: dict[int, float] = {}
        for record in self.of(arm):
            value = record.measures.get(measure) if record.label_condition == condition else None
            if isinstance(value, (int, float)) and math.isfinite(value):
                found[record.seed] = float(value)
        return found

    def _condition(self, measure: str) -> str:
        having = self._having.get(measure, ())
        return next((name for name in (TRUE, *reversed(self.study["label_conditions"])) if name in having), TRUE)

    @cached_property
    def _having(self) -> dict[str, set[str]]:
        """The label conditions under which some run has a measure, by its name."""
        found: dict[str, set[str]] = {}
        for record in self.records:
            for measure in record.measures:
                found.setdefault(measure, set()).add(record.label_condition)
        return found

    def pairs(self, arm: str, measure: str) -> tuple[Sequence[float], Sequence[float]]:
        """Return the values of an arm and of the baseline, from the seeds for which both are there."""
        mine, base = self.values(arm, measure), self.values(BASELINE, measure)
        seeds = [seed for seed in self.study["seeds"] if seed in mine and seed in base]
        return [mine[seed] for seed in seeds], [base[seed] for seed in seeds]

    @cached_property
    def summaries(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Mean, spread and interval of every measure, by arm; a condition other than its usual one is in brackets."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for arm in self.arms:
            found[arm] = {}
            for measure in self.measures:
                plain = self.values(arm, measure)
                if plain:
                    found[arm][measure] = _summary(plain)
                for condition in self.study["label_conditions"]:
                    values = self.values(arm, measure, condition)
                    if values and values != plain:
                        found[arm][f"{measure}[{condition}]"] = _summary(values)
        return found

    @cached_property
    def trust(self) -> dict[str, list[dict[str, Any]]]:
        """The trust flags of every arm: each at its worst level over seeds, runs that are missing, and measures that
        failed."""
        found: dict[str, list[dict[str, Any]]] = {}
        for arm in self.arms:
            worst: dict[str, dict[str, Any]] = {}
            for flag in (flag for record in self.of(arm) for flag in record.trust):
                seen = worst.get(flag["flag"])
                if seen is None or LEVELS.index(flag["level"]) > LEVELS.index(seen["level"]):
                    worst[flag["flag"]] = flag
            for status in ("diverged", "failed"):
                lost = [record for record in self.of(arm) if record.status == status]
                if lost:
                    says = f"{len(lost)} of {len(self.of(arm))} runs {status}: {lost[0].reason}"
                    worst[status] = {"flag": status, "level": "red", "value": len(lost), "says": says}
            found[arm] = [*worst.values(), *unmeasured.flags(self.of(arm))]
        return found

    @cached_property
    def differences(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Arm minus baseline for every measure with a better side, paired by seed, with interval, tests and word."""
        found: dict[str, dict[str, dict[str, Any]]] = {arm: {} for arm in self.arms}
        for measure, higher in self.measures.items():
            pairs = {arm: self.pairs(arm, measure) for arm in self.arms[1:]} if higher is not None else {}
            against = against_baseline(
                measure,
                {arm: pair for arm, pair in pairs.items() if pair[0]},
                higher=bool(higher),
                tested=PROTOCOLS[self.study["protocol"]].p_values,
                step=1 / max(1, self.study.get("test_images", 1)),
                blocked={arm: self._blocked(arm, measure) for arm in pairs},
            )
            for arm, difference in against.items():
                found[arm][measure] = difference
        return found

    @cached_property
    def pareto(self) -> list[str]:
        """The arms that no other beats in mean clean and robust accuracy; those whose attack failed do not compete."""
        points = {}
        for arm in self.arms:
            found = [self.summaries[arm].get(measure) for measure in PLANE]
            if all(found) and not self._blocked(arm, "robust_accuracy"):
                points[arm] = [summary["mean"] for summary in found if summary]
        return statistics.pareto_front(points)

    def verdict(self) -> list[str]:
        """Return what the study says, in sentences."""
        return sentences(self)

    def cards(self, width: int = 80) -> str:
        """Return one card an arm as text of at most `width` columns; `to_dict` has the same as values."""
        from ..report import cards_text

        return cards_text(self, width)

    def to_dict(self) -> dict[str, Any]:
        """Return the study as plain values, in the documented JSON form."""
        arms = []
        for arm in self.arms:
            records = self.of(arm)
            runs = [
                {
                    "seed": record.seed,
                    "label_condition": record.label_condition,
                    "status": record.status,
                    "reason": record.reason,
                    "measures": record.measures,
                    "details": {k: v for k, v in record.details.items() if k not in ("initial_norms", "examples")},
                    "id": record.id,
                    "model_sha256": record.model_sha256,
                }
                for record in records
            ]
            arms.append(
                {
                    "arm": arm,
                    "regularizers": records[0].regularizers if records else [],
                    "runs": runs,
                    "summary": self.summaries[arm],
                    "against_baseline": self.differences[arm],
                    "trust": self.trust[arm],
                    "card": card(self, arm),
                }
            )
        return {"study": self.study, "arms": arms, "pareto": self.pareto, "verdict": self.verdict()}

    def frame(self) -> pandas.DataFrame:
        """Return one row a run as a pandas DataFrame; curves become columns `name@key`."""
        try:
            import pandas
        except ImportError as error:
            raise UsageError(
                "frame() needs pandas: pip install pandas; rows() gives the same as plain dicts"
            ) from error
        return pandas.DataFrame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dict a run: arm, seed, label condition, status, and every measure."""
        rows = []
        for record in self.records:
            row: dict[str, Any] = {
                "arm": record.arm,
                "seed": record.seed,
                "label_condition": record.label_condition,
                "status": record.status,
                "reason": record.reason,
            }
            for name, value in record.measures.items():
                row |= {f"{name}@{key}": v for key, v in value.items()} if isinstance(value, Mapping) else {name: value}
            rows.append(row)
        return rows

    def plot(self, what: str = "robust_curve") -> Figure:
        """Return a figure of the study; `report.FIGURES` names them, and a measure may be given instead."""
        from ..report import FIGURES

        if what not in FIGURES:
            raise UsageError(f"no figure is called {what!r}; there are {', '.join(FIGURES)}.{suggest(what, FIGURES)}")
        return FIGURES[what](self)

    def __str__(self) -> str:
        from ..report import table_text

        return "\n".join([table_text(self), "", *self.verdict()])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def _blocked(self, arm: str, measure: str) -> bool:
        # A failed attack says nothing about clean accuracy or memorization; these say something about everything.
        red = {flag["flag"] for flag in self.trust[arm] if flag["level"] == "red"}
        return bool(red if measure.startswith(("robust", "fgsm")) else red & ABOUT_ALL)


def _summary(values: Mapping[int, float]) -> dict[str, Any]:
    interval = statistics.mean_interval(list(values.values()))
    return {"mean": interval.mean, "sd": interval.sd, "low": interval.low, "high": interval.high, "n": interval.n}
