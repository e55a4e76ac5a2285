"""All flags of a subject, and how long they took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .agreement import low_gradient_agreement
from .black_box import black_box_beats_white_box, random_noise_wins
from .constant import constant_predictor
from .convergence import not_converged
from .cross_entropy import ce_far_from_margin, scale_dependence, zero_gradients
from .evidence import Evidence
from .flag import Flag
from .forward import batch_dependence, stochastic_forward
from .reach import eps_half_not_at_chance
from .single_step import adversarial_above_clean, fgsm_far_above_worst, fgsm_stronger_than_pgd

if TYPE_CHECKING:
    from ..subject import Subject

CHECKS: tuple[Callable[[Evidence], Flag | None], ...] = (
    fgsm_stronger_than_pgd,
    adversarial_above_clean,
    fgsm_far_above_worst,
    ce_far_from_margin,
    zero_gradients,
    scale_dependence,
    eps_half_not_at_chance,
    black_box_beats_white_box,
    random_noise_wins,
    not_converged,
    low_gradient_agreement,
    stochastic_forward,
    batch_dependence,
    constant_predictor,
)


@dataclass(frozen=True)
class Trust:
    """The flags of a subject, and the seconds that finding them took beyond the attacks that were measured anyway."""

    flags: tuple[Flag, ...]
    seconds: float


def judge(subject: Subject) -> Trust:
    """Return what every check of `CHECKS` that applies says of `subject`, in that order; nothing of no test points."""
    if not subject.classifies or not len(subject.splits.test):
        return Trust((), 0.0)
    evidence = Evidence(subject)
    _ = subject.attack_report, subject.test_logits  # measures have these from the subject, too: not the flags' time
    start = time.perf_counter()
    flags = tuple(flag for check in CHECKS if (flag := check(evidence)) is not None)
    return Trust(flags, time.perf_counter() - start)


def trust_flags(subject: Subject) -> list[Flag]:
    """Return the flags of a subject, in a fixed order; green ones too. A red one blocks the word "better".

    A flag is a dict: `flag`, its name; `level`, "green", "amber" or "red"; `value`, the number looked at; `says`, a
    sentence with it. What a flag is, and from where its thresholds are, stands at its check, see `CHECKS`. Without
    attacks (a model trained on corrupted labels) only those about the model itself apply.

    The checks are neither necessary nor sufficient (Carlini et al, On evaluating adversarial robustness, 2019).
    """
    return list(subject.trust.flags)
