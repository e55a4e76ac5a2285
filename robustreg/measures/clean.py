"""Accuracy without an attack."""

from __future__ import annotations

from .measure import Measure
from .subject import Subject, share


def train_accuracy(subject: Subject) -> float | None:
    """Return the accuracy on the training split, by the labels the model was trained on."""
    given = subject.splits.train.y if subject.given_labels is None else subject.given_labels
    return share(subject.train_logits.argmax(-1) == given.cpu()) if subject.classifies else None


def clean_accuracy(subject: Subject) -> float | None:
    """Return the accuracy on the test split, by the true labels."""
    return share(subject.test_logits.argmax(-1) == subject.splits.test.y.cpu()) if subject.classifies else None


def generalization_gap(subject: Subject) -> float | None:
    """Return training minus test accuracy, both by the true labels."""
    test = clean_accuracy(subject)
    if test is None:
        return None
    train = share(subject.train_logits.argmax(-1) == subject.splits.train.y.cpu())
    return None if train is None else train - test


MEASURES = (
    Measure(
        "train_accuracy",
        train_accuracy,
        None,
        "Accuracy on the un-augmented training images by the labels it was trained on, in [0, 1].",
    ),
    Measure("clean_accuracy", clean_accuracy, True, "Accuracy on the test images, in [0, 1].", endpoint=True),
    Measure(
        "generalization_gap",
        generalization_gap,
        False,
        "Training minus test accuracy by the true labels, in [-1, 1].",
    ),
)
