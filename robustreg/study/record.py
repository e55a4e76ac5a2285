"""What is kept of one run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Value = float | dict[str, float]


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
        """Return the record that `to_json` wrote."""
        return cls(**json.loads(text))
