"""Whether the numbers of a model may be believed: flags, each a sentence with its number."""

from __future__ import annotations

from typing import Any

import torch

from ..attacks.report import AttackReport
from .subject import Subject

Flag = dict[str, Any]  # flag: its name; level: "green", "amber" or "red"; value: the number looked at; says: a sentence


def trust_flags(subject: Subject) -> list[Flag]:
    """Return the flags of a subject, in a fixed order; green ones too. A red one blocks the word "better".

    Thresholds: Carlini et al, On evaluating adversarial robustness, 2019; Andriushchenko and Flammarion,
    Understanding and improving fast adversarial training, 2020; and measured on digits and MNIST models.
    """
    if not subject.classifies or not len(subject.splits.test):
        return []
    report = subject.attack_report
    flags: list[Flag] = []
    if report is not None:
        checks = (fgsm_stronger_than_pgd, adversarial_above_clean, fgsm_far_above_worst, ce_far_from_margin)
        flags += [found for check in checks if (found := check(report)) is not None]
        flags.append(zero_gradients(report))
    return [*flags, constant_predictor(subject)]


def fgsm_stronger_than_pgd(report: AttackReport) -> Flag | None:
    """Count the points that only FGSM broke at the headline eps; amber over 1 %, red if it breaks more in total."""
    strong = [broken for name, broken in report.headline_broken.items() if name not in report.weak]
    if not strong:
        return None
    fgsm, iterated = report.headline_broken["fgsm"], torch.stack(strong).any(0)
    value = _mean(fgsm & ~iterated)
    level = "red" if _mean(fgsm) - _mean(iterated) > 0.005 else _level(value, amber=0.01)
    says = f"FGSM broke {value:.1%} of the points and no iterated attack did, at {_at(report)}"
    return _flag("fgsm_stronger_than_pgd", level, value, says, "the iterated attacks may be failing")


def adversarial_above_clean(report: AttackReport) -> Flag | None:
    """Compare FGSM accuracy with clean accuracy; red if it is higher by over 2 standard errors at any eps."""
    above = [(_gain(report, index), report.grid[index]) for index in range(1, len(report.grid))]
    if not above:
        return None
    (value, errors), eps = max(above)
    says = f"FGSM accuracy minus clean accuracy is {100 * value:+.1f} points at eps {eps:.4g} ({errors:+.1f} SE)"
    caution = "the model has learned to read the label from the FGSM step: catastrophic overfitting"
    return _flag(
        "adversarial_above_clean", "red" if any(gain[1] > 2 for gain, _ in above) else "green", value, says, caution
    )


def fgsm_far_above_worst(report: AttackReport) -> Flag | None:
    """Compare FGSM with robust accuracy at the headline eps; amber over 15 points, red over 30."""
    if len(report.headline_broken) < 2:
        return None
    value = report.fgsm_accuracy[report.headline] - report.robust_accuracy[report.headline]
    says = f"FGSM accuracy is {100 * value:.1f} points above the worst case at {_at(report)}"
    return _flag("fgsm_far_above_worst", _level(value, 0.15, 0.30), value, says, "quote the worst case, not FGSM")


def ce_far_from_margin(report: AttackReport) -> Flag | None:
    """Compare the attack on cross-entropy with the one on the margin; amber over 3 points, red over 10."""
    accuracy = report.attack_accuracy
    if not {"pgd", "pgd_margin"} <= set(accuracy):
        return None
    value = accuracy["pgd"] - accuracy["pgd_margin"]
    says = f"PGD accuracy on cross-entropy minus that on the margin is {100 * value:+.1f} points at {_at(report)}"
    return _flag("ce_far_from_margin", _level(value, 0.03, 0.10), value, says, "cross-entropy is a poor guide here")


def zero_gradients(report: AttackReport) -> Flag:
    """Count correctly classified points without a usable input gradient; amber from one, red over 5 %."""
    value = report.zero_gradient_share
    says = f"{value:.1%} of the correctly classified points have no usable input gradient"
    caution = "gradient attacks are blind there, so robustness is overstated"
    return _flag("zero_gradients", _level(value, 0.0, 0.05), value, says, caution)


def constant_predictor(subject: Subject) -> Flag:
    """Look at the most predicted class on the test split; red over 90 % of the points."""
    said = subject.test_logits.argmax(-1)
    value = float(said.bincount().max()) / len(said)
    says = f"the most predicted class gets {value:.1%} of the test points"
    return _flag("constant_predictor", "red" if value > 0.9 else "green", value, says, "the model has collapsed")


def _gain(report: AttackReport, index: int) -> tuple[float, float]:
    """FGSM minus clean accuracy, and the same in standard errors of a paired difference."""
    change = report.fgsm[index].double() - report.clean.double()
    value, spread = float(change.mean()), float(change.std(correction=0)) / max(len(change), 1) ** 0.5
    return value, value / spread if spread > 0 else 0.0


def _flag(name: str, level: str, value: float, says: str, caution: str) -> Flag:
    sentence = says if level == "green" else f"{says}: {caution}"
    return {"flag": name, "level": level, "value": value, "says": f"{sentence[0].upper()}{sentence[1:]}."}


def _level(value: float, amber: float, red: float = float("inf")) -> str:
    return "red" if value > red else "amber" if value > amber else "green"


def _at(report: AttackReport) -> str:
    return f"eps {report.headline:.4g}"


def _mean(which: torch.Tensor) -> float:
    return float(which.double().mean())
