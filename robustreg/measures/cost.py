"""What the training took, and judging it."""

from __future__ import annotations

from .measure import Measure
from .subject import Subject


def training_seconds(subject: Subject) -> float | None:
    """Return the wall time of the training in seconds; None where it is not known."""
    return subject.training_seconds


def gradient_passes(subject: Subject) -> float | None:
    """Return the passes through the network made in training; None where that is not known."""
    return subject.gradient_passes


def trust_seconds(subject: Subject) -> float | None:
    """Return the wall time of the trust flags in seconds; None for a model trained on corrupted labels."""
    return None if subject.corrupted or not subject.trust.flags else subject.trust.seconds


MEASURES = (
    Measure("training_seconds", training_seconds, None, "Wall time of the training, in seconds."),
    Measure(
        "gradient_passes",
        gradient_passes,
        None,
        "Batches passed through the network in training, those of regularizers included.",
    ),
    Measure("trust_seconds", trust_seconds, None, "Wall time of the trust flags, in seconds.", attacks=True),
)
