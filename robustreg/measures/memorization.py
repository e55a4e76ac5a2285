"""What a model trained on corrupted labels has learned of them."""

from __future__ import annotations

from .clean import train_accuracy
from .measure import Measure
from .subject import Subject, share


def random_label_accuracy(subject: Subject) -> float | None:
    """Return the accuracy on the training images by the corrupted labels; None for a run on true labels.

    Zhang et al, Understanding deep learning requires rethinking generalization, 2017.
    """
    return None if subject.given_labels is None else train_accuracy(subject)


def memorized_fraction(subject: Subject) -> float | None:
    """Return the share of wrongly labelled training images that are predicted as their wrong label.

    Arpit et al, A closer look at memorization in deep networks, 2017.
    """
    if subject.given_labels is None or subject.wrong is None or not subject.classifies:
        return None
    wrong = subject.wrong.cpu()
    return share(subject.train_logits.argmax(-1)[wrong] == subject.given_labels.cpu()[wrong])


def recovered_fraction(subject: Subject) -> float | None:
    """Return the share of wrongly labelled training images that are predicted as their true label."""
    if subject.wrong is None or not subject.classifies:
        return None
    wrong = subject.wrong.cpu()
    return share(subject.train_logits.argmax(-1)[wrong] == subject.splits.train.y.cpu()[wrong])


MEASURES = (
    Measure(
        "random_label_accuracy",
        random_label_accuracy,
        False,
        "Training accuracy by the corrupted labels, in [0, 1]: how well the model can fit noise.",
    ),
    Measure(
        "memorized_fraction",
        memorized_fraction,
        False,
        "Share of wrongly labelled training images predicted as their wrong label, in [0, 1].",
        endpoint=True,
    ),
    Measure(
        "recovered_fraction",
        recovered_fraction,
        True,
        "Share of wrongly labelled training images predicted as their true label, in [0, 1].",
    ),
)
