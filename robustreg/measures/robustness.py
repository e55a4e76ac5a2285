"""Accuracy under attack, in the threat model of the subject."""

from __future__ import annotations

from collections.abc import Mapping

from .measure import Measure
from .subject import Subject


def fgsm_accuracy(subject: Subject) -> float | None:
    """Return the accuracy on FGSM images at the headline eps. A weak attack: it never judges alone."""
    report = subject.attack_report
    return None if report is None else report.fgsm_accuracy[report.headline]


def robust_accuracy(subject: Subject) -> float | None:
    """Return the share of test points that no attack broke at any eps up to the headline eps."""
    report = subject.attack_report
    return None if report is None else report.robust_accuracy[report.headline]


def fgsm_curve(subject: Subject) -> dict[str, float] | None:
    """Return the FGSM accuracy by eps; the keys are `repr` of the eps, so that float(key) is exact."""
    report = subject.attack_report
    return None if report is None else _keyed(report.fgsm_accuracy)


def robust_curve(subject: Subject) -> dict[str, float] | None:
    """Return the robust accuracy by eps; the keys are `repr` of the eps, so that float(key) is exact."""
    report = subject.attack_report
    return None if report is None else _keyed(report.robust_accuracy)


def robust_area(subject: Subject) -> float | None:
    """Return the area under the robust curve, divided by the largest eps; None where that is 0."""
    report = subject.attack_report
    return None if report is None else area(report.robust_accuracy)


def area(curve: Mapping[float, float]) -> float | None:
    """Return the trapezoid area under a curve of accuracy by eps (ascending), divided by its width.

    A point robust up to r adds about min(r, largest eps) / largest eps: it is the mean breaking distance, cut off.
    """
    eps, accuracy = list(curve), list(curve.values())
    if len(eps) < 2:
        return None
    steps = range(1, len(eps))
    total = sum((eps[i] - eps[i - 1]) * (accuracy[i] + accuracy[i - 1]) / 2 for i in steps)
    return total / (eps[-1] - eps[0])


def _keyed(curve: Mapping[float, float]) -> dict[str, float]:
    return {repr(eps): accuracy for eps, accuracy in curve.items()}


MEASURES = (
    Measure(
        "fgsm_accuracy",
        fgsm_accuracy,
        True,
        "Accuracy on the test images moved by FGSM at the headline eps, in [0, 1]; a weak attack.",
        attacks=True,
    ),
    Measure(
        "robust_accuracy",
        robust_accuracy,
        True,
        "Share of test images that no attack broke up to the headline eps, in [0, 1].",
        attacks=True,
        endpoint=True,
    ),
    Measure("fgsm_curve", fgsm_curve, True, "FGSM accuracy by eps in pixel units.", attacks=True),
    Measure("robust_curve", robust_curve, True, "Robust accuracy by eps in pixel units.", attacks=True),
    Measure(
        "robust_area",
        robust_area,
        True,
        "Area under the robust curve over its largest eps, in [0, 1].",
        attacks=True,
    ),
)
