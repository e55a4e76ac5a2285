"""Attacks: pure functions that look for adversarial examples, and the driver that judges a model by them."""

from __future__ import annotations

from collections.abc import Iterable

from ..hookspecs import hookimpl
from ..threat import ThreatModel
from .apgd import apgd, apgd_targeted
from .attack import Attack
from .autoattack import autoattack
from .batching import attacked, in_batches
from .deepfool import deepfool, deepfool_distance
from .driver import evaluate_attacks, evaluate_together
from .fgsm import fgsm
from .gradients import input_gradient, outputs
from .losses import LOSSES, cross_entropy, dlr, margin, scale_free
from .minimal import minimal_eps
from .named import NAMED
from .noise import corner_noise, uniform_noise
from .pgd import pgd
from .points import Points
from .protocols import FGSM_ATTACK, PGD_ATTACK, PROTOCOLS, STRONG, eps_grid, protocol_attacks
from .pursuit import Pursuit
from .report import AttackReport
from .spatial import spatial
from .square import square
from .transfer import transfer
from .wrappers import averaged, straight_through

__all__ = [
    "LOSSES",
    "PROTOCOLS",
    "Attack",
    "AttackReport",
    "Points",
    "Pursuit",
    "ThreatModel",
    "apgd",
    "apgd_targeted",
    "attacked",
    "autoattack",
    "averaged",
    "corner_noise",
    "cross_entropy",
    "deepfool",
    "deepfool_distance",
    "dlr",
    "eps_grid",
    "evaluate_attacks",
    "evaluate_together",
    "fgsm",
    "in_batches",
    "input_gradient",
    "margin",
    "minimal_eps",
    "outputs",
    "pgd",
    "protocol_attacks",
    "scale_free",
    "spatial",
    "square",
    "straight_through",
    "transfer",
    "uniform_noise",
]


@hookimpl
def attacks() -> Iterable[Attack]:
    """Offer the built-in attacks."""
    return FGSM_ATTACK, PGD_ATTACK, *STRONG, *NAMED
