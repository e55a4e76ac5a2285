"""What the training took."""

from __future__ import annotations

from .measure import Measure
from .subject import Subject


def training_seconds(subject: Subject) -> float | None:
    """Return the wall time of the training in seconds; None where it is not known."""
    return subject.training_seconds


def gradient_passes(subject: Subject) -> float | None:
    """Return the passes through the network made in training; None where that is not known."""
    return subject.gradient_passes


MEASURES = (
    Measure("training_seconds", training_seconds, False, "Wall time of the training, in seconds."),
    Measure(
        "gradient_passes",
        gradient_passes,
        False,
        "Batches passed through the network in training, those of regularizers included.",
    ),
)
