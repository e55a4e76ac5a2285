"""One trial: a configuration of an arm, trained and looked at on validation images only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..study import Record
from .axis import Value

CRITERIA = {"clean": "clean_accuracy", "robust": "robust_accuracy"}  # what is selected by, and its measure
NORMAL = 1.96


@dataclass(frozen=True)
class Trial:
    """What came of one draw. Accuracies are means over the seeds of trials, on validation images.

    Attributes:
        arm: the arm as it was typed, with its ranges.
        draw: the number of the draw, from 1.
        values: what was drawn, by axis.
        spec: the arm that was trained, its learning rate included.
        model: the network.
        status: "ok", "collapsed" (no better than naming one class), "diverged" or "failed".
        reason: a sentence where the status is not "ok".
        clean: accuracy; None where there is no model to look at.
        robust: worst-case accuracy at the headline eps; None where there is no model to look at.
        passes: gradient passes of the training.
        red: the red trust flags.
        runs: the identities of its runs in the store.
    """

    arm: str
    draw: int
    values: dict[str, Value]
    spec: str
    model: str
    status: str = "ok"
    reason: str = ""
    clean: float | None = None
    robust: float | None = None
    passes: float | None = None
    red: tuple[str, ...] = ()
    runs: tuple[str, ...] = field(default=(), repr=False)

    def score(self, by: str) -> float:
        """Return the accuracy that counts for a criterion; without a model that can be used it is 0."""
        found = self.clean if by == "clean" else self.robust
        return found or 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as plain values."""
        return {**vars(self), "values": dict(self.values), "red": list(self.red), "runs": list(self.runs)}


def judged(trial: Trial, records: Sequence[Record], chance: float, images: int) -> Trial:
    """Return a trial with what its runs say of it.

    Args:
        trial: with nothing known of it yet.
        records: of its runs, one a seed.
        chance: the share of the most frequent class among the validation images.
        images: how many these are.
    """
    lost = next((record for record in records if record.status != "ok"), None)
    clean, robust, passes = (_mean(records, name) for name in (*CRITERIA.values(), "gradient_passes"))
    red = sorted({flag["flag"] for record in records for flag in record.trust if flag["level"] == "red"})
    status, reason = (lost.status, lost.reason) if lost else ("ok", "")
    bound = chance + NORMAL * math.sqrt(chance * (1 - chance) / max(1, images))
    if not lost and clean is not None and clean <= bound:
        status, reason = (
            "collapsed",
            f"{clean:.1%} of the validation images are right, naming one class gets {chance:.1%}",
        )
    ids = tuple(record.id for record in records)
    known = {**vars(trial), "status": status, "reason": reason, "passes": passes, "red": tuple(red), "runs": ids}
    return Trial(**{**known, "clean": clean, "robust": robust})


def best(trials: Sequence[Trial], by: str) -> Trial | None:
    """Return the trial that a criterion selects: the best score, of equals that with the better other score, then the
    first drawn. None where no trial left a model, or none that does better than naming one class."""
    usable = [trial for trial in trials if trial.status == "ok"]
    other = next(name for name in CRITERIA if name != by)
    return max(usable, key=lambda trial: (trial.score(by), trial.score(other), -trial.draw), default=None)


def _mean(records: Sequence[Record], measure: str) -> float | None:
    """The mean over the runs; None if one of them does not have the measure."""
    found = [record.measures.get(measure) for record in records]
    values = [float(value) for value in found if isinstance(value, (int, float))]
    return sum(values) / len(values) if values and len(values) == len(records) else None
