"""What is kept of one run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Value = float | dict[str, float]
STATUSES = ("ok", "failed", "diverged")


@dataclass
class Record:
    """One finished run: its place in the study, what was measured, and how it came about.

    Attributes:
        id: the run's identity, a hash of everything that decides its result.
        status: "ok", "failed" (an error, see `reason`) or "diverged".
        measures: name to a number, or to numbers by key for a curve.
        trust: flags with level, value and a sentence.
        history: metrics of every epoch.
        details: sizes, effective label noise, initial norms and what else a reader may ask for.
        model_sha256: of the model file; empty when there is none.
    """

    id: str
    arm: str
    seed: int
    label_condition: str
    status: str = "ok"
    reason: str = ""
    regularizers: list[dict[str, Any]] = field(default_factory=list)
    measures: dict[str, Value] = field(default_factory=dict)
    trust: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    split_hash: str = ""
    model_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(vars(self), allow_nan=True)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Return the record that `to_json` wrote; a ValueError or TypeError for what it never writes."""
        record = cls(**json.loads(text))
        for name, kind in _KINDS.items():
            if not isinstance(getattr(record, name), kind):
                raise ValueError(f"{name} must be {kind.__name__}, got {getattr(record, name)!r:.40}")
        if record.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {record.status!r:.40}")
        if not all(
            isinstance(flag, dict) and {"flag", "level", "value", "says"} <= flag.keys() for flag in record.trust
        ):
            raise ValueError("a trust flag must have flag, level, value and says")
        return record


def _is_flag(found: Any) -> bool:
    texts = isinstance(found, dict) and all(isinstance(found.get(key), str) for key in ("flag", "level", "says"))
    return texts and "value" in found and found["level"] in ("green", "amber", "red")


_KINDS = {
    **dict.fromkeys(("id", "arm", "label_condition", "reason", "split_hash", "model_sha256"), str),
    **dict.fromkeys(("measures", "details", "versions"), dict),
    **dict.fromkeys(("regularizers", "trust", "history"), list),
    "seed": int,
}
