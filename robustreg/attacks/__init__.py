"""Attacks: pure functions that look for adversarial examples, and the driver that judges a model by them."""

from __future__ import annotations

from collections.abc import Iterable

from ..hookspecs import hookimpl
from ..threat import ThreatModel
from .attack import Attack
from .batching import in_batches
from .driver import evaluate_attacks
from .fgsm import fgsm
from .gradients import input_gradient, outputs
from .losses import LOSSES, cross_entropy, margin, scale_free
from .pgd import pgd
from .protocols import FGSM_ATTACK, PGD_ATTACK, PROTOCOLS, eps_grid, protocol_attacks
from .pursuit import Pursuit
from .report import AttackReport

__all__ = [
    "LOSSES",
    "PROTOCOLS",
    "Attack",
    "AttackReport",
    "Pursuit",
    "ThreatModel",
    "cross_entropy",
    "eps_grid",
    "evaluate_attacks",
    "fgsm",
    "in_batches",
    "input_gradient",
    "margin",
    "outputs",
    "pgd",
    "protocol_attacks",
    "scale_free",
]


@hookimpl
def attacks() -> Iterable[Attack]:
    """Offer the built-in attacks."""
    return FGSM_ATTACK, PGD_ATTACK
