"""Whether the model says the same of everything."""

from __future__ import annotations

from .evidence import Evidence
from .flag import Flag, flagged

LARGEST = 0.9  # share of the test points in one class


def constant_predictor(evidence: Evidence) -> Flag:
    """Look at the most predicted class on the test split; red over `LARGEST` of the points.

    No attack lowers the accuracy of a constant answer, so it looks robust. Threshold: ours.
    """
    said = evidence.subject.test_logits.argmax(-1)
    value = float(said.bincount().max()) / len(said)
    says = f"the most predicted class gets {value:.1%} of the test points"
    level = "red" if value > LARGEST else "green"
    return flagged("constant_predictor", level, value, says, "the model has collapsed")
