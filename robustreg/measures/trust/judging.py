"""All flags of a subject, and how long they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .agreement import low_gradient_agreement
from .black_box import black_box_beats_white_box, random_noise_wins, searched
from .constant import constant_predictor
from .convergence import not_converged
from .cross_entropy import ce_far_from_margin, scale_dependence, zero_gradients
from .evidence import Asking, Evidence
from .flag import Flag
from .forward import batch_dependence, stochastic_forward
from .reach import eps_half_not_at_chance
from .single_step import adversarial_above_clean, fgsm_far_above_worst, fgsm_stronger_than_pgd
from .witnesses import Witnesses

if TYPE_CHECKING:
    from ..subject import Subject

CHECKS: tuple[Callable[[Evidence], Flag | Asking | None], ...] = (
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
    return judge_together([subject])[0]


def judge_together(subjects: Sequence[Subject]) -> list[Trust]:
    """Return the trust of several subjects, each as `judge` finds it alone, with every attack on all models at once.

    The seconds are shared equally. The subjects have models of one architecture, and equal test images in shape,
    threat models and attacks.
    """
    judged = [subject for subject in subjects if subject.classifies and len(subject.splits.test)]
    for subject in judged:
        _ = subject.attack_report, subject.test_logits  # measures have these from the subject, too: not the flags' time
    start = time.perf_counter()
    witnesses = Witnesses([Evidence(subject) for subject in judged])
    found: list[list[Flag]] = [[] for _ in judged]
    witnesses.share_images(searched)
    for check in CHECKS if judged else ():
        for flags, flag in zip(found, witnesses.hear(check), strict=True):
            if flag is not None:
                flags.append(flag)
    seconds = (time.perf_counter() - start) / max(len(judged), 1)
    by_subject = {id(subject): Trust(tuple(flags), seconds) for subject, flags in zip(judged, found, strict=True)}
    return [by_subject.get(id(subject), Trust((), 0.0)) for subject in subjects]


def trust_flags(subject: Subject) -> list[Flag]:
    """Return the flags of a subject, in a fixed order; green ones too. A red one blocks the word "better".

    A flag is a dict: `flag`, its name; `level`, "green", "amber" or "red"; `value`, the number looked at; `says`, a
    sentence with it. What a flag is, and from where its thresholds are, stands at its check, see `CHECKS`. Without
    attacks (a model trained on corrupted labels) only those about the model itself apply.

    The checks are neither necessary nor sufficient (Carlini et al, On evaluating adversarial robustness, 2019).
    """
    return list(subject.trust.flags)
