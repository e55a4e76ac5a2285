"""What is proved about a model, and whether attacks and proofs can both be right."""

from __future__ import annotations

from .measure import Measure
from .subject import Subject, share
from .trust.flag import Flag, flagged


def certified_accuracy(subject: Subject) -> float | None:
    """Return the share of test points proved, by interval bounds, to stand whatever the attack at the headline eps.

    A lower bound of what any attack can leave, as robust accuracy is an upper one; often 0 for a model that was not
    trained for it. None in l2, for a network that is no chain of known layers, and after training on corrupted labels.

    Gowal et al, On the effectiveness of interval bound propagation for training verifiably robust models, 2018.
    """
    return None if subject.proved is None else share(subject.proved)


def sandwich(subject: Subject) -> Flag | None:
    """Check certified <= robust <= clean point by point; None where there is no certificate or no attack report.

    A point that is proved robust and yet broken, or broken under attack but counted as standing, cannot be: either
    is a bug of an attack or of the certificate, never a property of the model, and the flag is red from one point on.
    """
    report, proof = subject.attack_report, subject.proved
    if report is None or proof is None:
        return None
    standing = report.broken_at > report.grid.index(report.headline)
    value = float(((proof & ~standing) | (standing & ~report.clean)).double().mean())
    shares = [float(which.double().mean()) for which in (proof, standing, report.clean)]
    says = "proved robust {:.1%}, standing under attack {:.1%}, clean {:.1%}".format(*shares)
    caution = f"{value:.1%} of the points contradict that order, proof of a bug in attack or certificate"
    level = "red" if value > 0 else "green"
    return flagged("sandwich", level, value, f"{says}, at eps {report.headline:.4g}", caution)


MEASURES = (
    Measure(
        "certified_accuracy",
        certified_accuracy,
        True,
        "Share of test images proved robust at the headline eps by interval bounds (linf, plain chains), in [0, 1].",
    ),
)
