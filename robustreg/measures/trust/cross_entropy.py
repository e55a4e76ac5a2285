"""Whether cross-entropy in float32, which other libraries and papers attack with, sees anything on this model.

Our own attacks climb losses that do not saturate, so these flags do not doubt our numbers first: they say that numbers
from elsewhere about such a model, and its looks under FGSM, are too good.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...attacks.fgsm import along
from ...attacks.losses import AttackLoss, cross_entropy, scale_free
from ...attacks.protocols import PGD_ATTACK
from ...threat import ThreatModel
from .evidence import Asking, Evidence, Question
from .flag import Flag, flagged, graded, paired, share

STEPS = 20  # of the two attacks that are compared
BEHIND, BLIND = 0.03, 0.10  # cross-entropy leaves so many more points standing than the margin: amber, red
NO_GRADIENT = 0.05  # share of the correct points without a gradient: red
TEMPERATURES = (1.0, 10.0, 100.0)
ERRORS = 2.0  # standard errors between the accuracies at two temperatures
FEW, MANY = 0.01, 0.10  # how much accuracy may hang on the scale, if it is beyond the errors: amber, red
SATURATED = -16.6  # log(2**-24): beyond it float32 rounds 1 - p_y to 0
SURE = 0.25  # share of the correct points that are saturated: amber; an ordinary network reaches 0.2 without harm


def plain(logits: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
    """Return cross-entropy of `logits / temperature` in float32, as everybody computes it, one value a sample."""
    return cross_entropy(logits.float() / temperature, y)


def cooled(temperature: float) -> AttackLoss:
    """Return the attack loss `plain` at a temperature."""
    return lambda logits, y: plain(logits, y, temperature)


def ce_far_from_margin(evidence: Evidence) -> Asking:
    """Compare PGD on plain cross-entropy with PGD on the margin, `STEPS` steps from one start, at the headline eps.

    Value: accuracy under the first minus accuracy under the second. Amber over `BEHIND`, red over `BLIND`. Measured on
    MNIST at eps 0.1: baseline below 0, label smoothing .5 5.5 points, distillation at T=20 45.

    Carlini and Wagner, Towards evaluating the robustness of neural networks, 2017. Thresholds: ours.
    """
    if not evidence.judges:
        return None
    at = evidence.correct.nonzero().squeeze(1)
    by_entropy = yield Question(PGD_ATTACK.with_settings(steps=STEPS, loss=plain), at)
    by_margin = yield Question(PGD_ATTACK.with_settings(steps=STEPS, loss="margin"), at)
    value = (len(by_margin) - len(by_entropy)) / len(evidence.y)
    eps = f"eps {evidence.subject.headline_eps:.4g}"
    says = f"PGD accuracy on cross-entropy minus that on the margin is {100 * value:+.1f} points at {eps}"
    level = graded(value, BEHIND, BLIND)
    return flagged("ce_far_from_margin", level, value, says, "cross-entropy is a poor guide here")


def zero_gradients(evidence: Evidence) -> Flag | None:
    """Count the correctly classified points whose gradient of plain cross-entropy is zero or not finite.

    Points where that of the scale-free loss is useless count too, and are named: there our own attacks see nothing.
    Amber from one point, red over `NO_GRADIENT`.

    Athalye et al, Obfuscated gradients give a false sense of security, 2018; Croce and Hein, Reliable evaluation of
    adversarial robustness, 2020 (the check for zero gradients). Threshold for red: ours.
    """
    if evidence.report is None:
        return None
    mute = _useless(evidence.gradient(evidence.x, plain))
    deaf = evidence.report.useless_gradient[: len(evidence.y)].to(evidence.y.device)
    value, ours = share((mute | deaf)[evidence.correct]), share(deaf[evidence.correct])
    says = f"{value:.1%} of the correctly classified points have no usable gradient of float32 cross-entropy"
    caution = (
        f"{ours:.1%} have none of the scale-free loss either, so robustness is overstated"
        if ours
        else "attacks on cross-entropy are blind there, and see a robust model"
    )
    return flagged("zero_gradients", graded(value, 0.0, NO_GRADIENT), value, says, caution)


def scale_dependence(evidence: Evidence) -> Flag | None:
    """Attack by FGSM on plain cross-entropy of z / T for T in `TEMPERATURES`, at the headline eps.

    Value: accuracy at T = 1 minus the lowest accuracy at another T. Amber when it is over `FEW` and over `ERRORS`
    standard errors of the paired difference, red when also over `MANY`. One side only: a high T averages over all
    wrong classes and is a weaker attack on an ordinary model. Amber, too, when over `SURE` of the correct points are
    saturated, logsumexp(z_k, k != y) - z_y < `SATURATED`: there float32 has lost the gradient's main part.

    Carlini and Wagner, Defensive distillation is not robust to adversarial examples, 2016. Thresholds: ours.
    """
    if not evidence.judges:
        return None
    threat = ThreatModel(evidence.subject.norm, evidence.subject.headline_eps)

    def stands(temperature: float) -> Tensor:
        moved = along(threat, evidence.x, threat.steepest(evidence.gradient(evidence.x, cooled(temperature))))
        return evidence.correct & (evidence.outputs(moved).argmax(-1) == evidence.y)

    first, *others = (stands(temperature) for temperature in TEMPERATURES)
    value, errors = max(paired(first.double() - other.double()) for other in others)
    sure = share((scale_free(evidence.logits, evidence.y) < SATURATED)[evidence.correct])
    hangs = value > FEW and errors > ERRORS
    level = "red" if hangs and value > MANY else "amber" if hangs or sure > SURE else "green"
    says = (
        f"accuracy under FGSM on cross-entropy minus that on cooled logits is {100 * value:+.1f} points"
        f" ({errors:+.1f} SE), and {sure:.1%} of the correctly classified points are saturated in float32"
    )
    caution = "attacks on cross-entropy see the scale of the logits, not robustness"
    return flagged("scale_dependence", level, value, says, caution)


def _useless(gradient: Tensor) -> Tensor:
    flat = gradient.reshape(len(gradient), -1)
    return (flat == 0).all(1) | ~torch.isfinite(flat).all(1)
