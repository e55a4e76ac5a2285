"""What a model trained on corrupted labels has learned of them, and how fast."""

from __future__ import annotations

from .clean import train_accuracy
from .measure import Measure
from .robustness import area
from .subject import Subject, share

POINTS = 25  # of a curve that is kept


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


def random_label_curve(subject: Subject) -> dict[str, float] | None:
    """Return the accuracy on the corrupted training labels by the number of epochs done, 25 points of it at most.

    The points are evenly spread, the first and the last epoch among them. None for a run on true labels, or without a
    history.
    """
    curve = _history(subject, "train_accuracy")
    at = list(curve)
    if len(at) > POINTS:
        at = [at[round(k * (len(at) - 1) / (POINTS - 1))] for k in range(POINTS)]
    return {str(epoch): curve[epoch] for epoch in at} or None


def random_label_area(subject: Subject) -> float | None:
    """Return the area under the whole curve over the epochs that were trained, divided by their number.

    None for fewer than two epochs. A run that stopped early is judged on the epochs it had.
    """
    return area(_history(subject, "train_accuracy"))


def epochs_to(subject: Subject, accuracy: float) -> float | None:
    """Return how many epochs it took to reach an accuracy on the corrupted training labels; None if it never did."""
    curve = _history(subject, "train_accuracy")
    return next((float(epoch) for epoch, reached in curve.items() if reached >= accuracy), None)


def last_minus_best_val(subject: Subject) -> float | None:
    """Return validation accuracy after the last epoch minus that after the best one, at most 0.

    Validation labels are true ones. The best epoch is picked on the images it is judged on, which flatters it: by
    some points with a few hundred of them, memorization or not.
    Zhang et al, mixup: beyond empirical risk minimization, 2018 (best and last columns).
    """
    found = list(_history(subject, "val_accuracy").values())
    return found[-1] - max(found) if found else None


def _history(subject: Subject, metric: str) -> dict[float, float]:
    """A metric by the number of epochs done; empty for a run on true labels."""
    if subject.given_labels is None or not subject.classifies:
        return {}
    rows = enumerate(subject.history, 1)
    return {epoch: float(row[metric]) for epoch, row in rows if metric in row}


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
    Measure(
        "random_label_curve",
        random_label_curve,
        False,
        "Training accuracy by the corrupted labels, by the number of epochs done; at most 25 points.",
    ),
    Measure(
        "random_label_area",
        random_label_area,
        False,
        "Area under the curve of training accuracy by the corrupted labels over its epochs, in [0, 1].",
    ),
    # No better side: runs that never got there have no number, and a comparison of the others would be of the fast.
    Measure(
        "epochs_to_half",
        lambda subject: epochs_to(subject, 0.5),
        None,
        "Epochs until half of the corrupted labels were fitted; left out when they never were.",
    ),
    Measure(
        "epochs_to_99",
        lambda subject: epochs_to(subject, 0.99),
        None,
        "Epochs until 99 % of the corrupted labels were fitted; left out when they never were.",
    ),
    Measure(
        "last_minus_best_val",
        last_minus_best_val,
        None,
        "Validation accuracy after the last epoch minus that after the best, on corrupted labels, in [-1, 0].",
    ),
)
