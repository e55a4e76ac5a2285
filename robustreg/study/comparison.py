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
from .conditions import LabelCondition
from .plan import BASELINE
from .protocol import ENDPOINTS, PROTOCOLS
from .record import Record
from .verdict import sentences

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

LEVELS = ("green", "amber", "red")
TRUE = str(LabelCondition(0.0))


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
        for seed in self.study["seeds"]:
            hashes = {record.split_hash for record in self.records if record.seed == seed}
            if len(hashes) > 1:
                raise UsageError(f"the runs of seed {seed} saw different splits; they cannot be compared")

    def of(self, arm: str) -> list[Record]:
        """Return the runs of an arm."""
        return [record for record in self.records if record.arm == arm]

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
        having = {record.label_condition for record in self.records if measure in record.measures}
        return next((name for name in (TRUE, *reversed(self.study["label_conditions"])) if name in having), TRUE)

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
        """The trust flags of every arm: each at its worst level over seeds, and runs that are missing."""
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
            found[arm] = list(worst.values())
        return found

    @cached_property
    def differences(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Arm minus baseline for every measure with a better side, paired by seed, with interval, tests and word."""
        tested = PROTOCOLS[self.study["protocol"]].p_values
        others = self.arms[1:]
        found: dict[str, dict[str, dict[str, Any]]] = {arm: {} for arm in self.arms}
        for measure, higher in self.measures.items():
            pairs = {arm: self._pairs(arm, measure) for arm in others} if higher is not None else {}
            pairs = {arm: pair for arm, pair in pairs.items() if pair[0]}
            deltas = {arm: statistics.differences(*pair) for arm, pair in pairs.items()}
            p = {arm: statistics.sign_flip_test(delta) if tested else None for arm, delta in deltas.items()}
            family = measure in ENDPOINTS
            adjusted = dict(zip(p, statistics.holm(list(p.values())), strict=True)) if family else dict.fromkeys(p)
            for arm, delta in deltas.items():
                difference = statistics.paired_difference(*pairs[arm])
                margin = ENDPOINTS.get(measure)
                same = statistics.equivalence_test(delta, margin) if margin and len(delta) > 1 else None
                found[arm][measure] = {
                    "difference": difference.mean,
                    "low": difference.low,
                    "high": difference.high,
                    "n": difference.n,
                    "p": p[arm],
                    "p_adjusted": adjusted[arm],
                    "detectable": statistics.detectable_difference(
                        difference.sd, difference.n, alpha=0.05 / len(others) if tested and family else 0.05
                    ),
                    "word": statistics.word(
                        difference,
                        p_adjusted=adjusted[arm] if family else p[arm],
                        equivalence_p=same,
                        margin=margin,
                        higher_is_better=bool(higher),
                        blocked=self._blocked(arm, measure),
                    ),
                }
        return found

    def verdict(self) -> list[str]:
        """Return what the study says, in sentences."""
        return sentences(self)

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
                }
            )
        return {"study": self.study, "arms": arms, "verdict": self.verdict()}

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

    def _pairs(self, arm: str, measure: str) -> tuple[Sequence[float], Sequence[float]]:
        mine, base = self.values(arm, measure), self.values(BASELINE, measure)
        seeds = [seed for seed in self.study["seeds"] if seed in mine and seed in base]
        return [mine[seed] for seed in seeds], [base[seed] for seed in seeds]

    def _blocked(self, arm: str, measure: str) -> bool:
        # A failed attack says nothing about clean accuracy or memorization; a lost run says something about all.
        red = {flag["flag"] for flag in self.trust[arm] if flag["level"] == "red"}
        return (
            bool(red)
            if measure.startswith(("robust", "fgsm"))
            else bool(red & {"diverged", "failed", "constant_predictor"})
        )


def _summary(values: Mapping[int, float]) -> dict[str, Any]:
    interval = statistics.mean_interval(list(values.values()))
    return {"mean": interval.mean, "sd": interval.sd, "low": interval.low, "high": interval.high, "n": interval.n}
