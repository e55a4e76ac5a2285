"""What FGSM gives away: a broken attack, a model that has learned to read it, a number that is too kind."""

from __future__ import annotations

import torch

from ...attacks.report import AttackReport
from .evidence import Evidence
from .flag import Flag, flagged, graded, paired, share

ALONE = 0.01  # share of points that only FGSM broke: amber
STRONGER = 0.005  # FGSM breaks so much more in total: red
ERRORS = 2.0  # standard errors of a paired difference that red takes, too
FLATTERED, FOOLED = 0.15, 0.30  # FGSM accuracy above the worst case: amber, red


def fgsm_stronger_than_pgd(evidence: Evidence) -> Flag | None:
    """Count the points that FGSM broke at the headline eps and no other attack did.

    Amber over `ALONE`; red when FGSM breaks more in total, by over `STRONGER` and by over `ERRORS` standard errors of
    the paired difference: many steps include the single one, so the iterated attacks are failing. Standard errors,
    because a random start loses a point or two by chance: of 200 points that is more than `STRONGER`.

    Carlini et al, On evaluating adversarial robustness, 2019 (basic sanity tests).
    """
    report = evidence.report
    strong = [] if report is None else [hit for name, hit in report.headline_broken.items() if name not in report.weak]
    if report is None or not strong:
        return None
    fgsm, iterated = report.headline_broken["fgsm"], torch.stack(strong).any(0)
    value = share(fgsm & ~iterated)
    more, errors = paired(fgsm.double() - iterated.double())
    level = "red" if more > STRONGER and errors > ERRORS else graded(value, ALONE)
    says = f"{value:.1%} of the points are broken by FGSM and by no iterated attack, at {_at(report)}"
    return flagged("fgsm_stronger_than_pgd", level, value, says, "the iterated attacks may be failing")


def adversarial_above_clean(evidence: Evidence) -> Flag | None:
    """Compare FGSM accuracy with clean accuracy at every eps, point by point.

    Red when it is higher at any eps by over `ERRORS` standard errors of the paired difference: the model reads the
    label from the attack.

    Kurakin et al, Adversarial machine learning at scale, 2017 (label leaking); Wong et al, Fast is better than free,
    2020 (catastrophic overfitting).
    """
    report = evidence.report
    if report is None or len(report.grid) < 2:
        return None
    steps = range(1, len(report.grid))
    gains = [(paired(report.fgsm[step].double() - report.clean.double()), report.grid[step]) for step in steps]
    (value, errors), eps = max(gains)
    level = "red" if any(gain[1] > ERRORS for gain, _ in gains) else "green"
    says = f"FGSM accuracy minus clean accuracy is {100 * value:+.1f} points at eps {eps:.4g} ({errors:+.1f} SE)"
    caution = "the model has learned to read the label from the FGSM step: catastrophic overfitting"
    return flagged("adversarial_above_clean", level, value, says, caution)


def fgsm_far_above_worst(evidence: Evidence) -> Flag | None:
    """Subtract robust accuracy from FGSM accuracy at the headline eps; amber over `FLATTERED`, red over `FOOLED`.

    Thresholds: ours. Measured on MNIST: baseline 8 points, dropout 17, mixup 26, FGSM training at eps 0.3 75.
    Tramer et al, Ensemble adversarial training, 2018 (gradient masking by training on single steps).
    """
    report = evidence.report
    if report is None or len(report.headline_broken) < 2:
        return None
    value = report.fgsm_accuracy[report.headline] - report.robust_accuracy[report.headline]
    says = f"FGSM accuracy is {100 * value:.1f} points above the worst case at {_at(report)}"
    level = graded(value, FLATTERED, FOOLED)
    return flagged("fgsm_far_above_worst", level, value, says, "quote the worst case, not FGSM")


def _at(report: AttackReport) -> str:
    return f"eps {report.headline:.4g}"
