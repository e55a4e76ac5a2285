"""Whether the attacks had finished."""

from __future__ import annotations

import inspect

import torch

from ...attacks.attack import Attack
from .evidence import Asking, Evidence, Question
from .flag import flagged, graded, standard_error

MOVED = 0.002  # change of robust accuracy that says nothing
AMBER, RED = 1.0, 2.0  # standard errors beyond it


def not_converged(evidence: Evidence) -> Asking:
    """Run every attack with twice its steps on the points that nothing broke at the headline eps.

    Value: the share of points that break now. Amber over `MOVED` and a standard error, red over `MOVED` and two. An
    attack without a setting `steps` is left out.

    Carlini et al, On evaluating adversarial robustness, 2019 (more iterations must not matter; the 0.2 points are
    those of Croce and Hein, Reliable evaluation of adversarial robustness, 2020).
    """
    longer = [twice for attack in evidence.judges if (twice := _doubled(attack)) is not None]
    if not longer:
        return None
    hits = [evidence.standing[:0]]
    for attack in longer:
        hits.append((yield Question(attack, evidence.standing)))
    n = len(evidence.y)
    value = len(torch.cat(hits).unique()) / n
    error = standard_error(value, n)
    level = graded(value, MOVED + AMBER * error, MOVED + RED * error)
    says = f"twice the steps take {100 * value:.1f} points off robust accuracy"
    return flagged("not_converged", level, value, says, "the attacks stopped early, so robustness is overstated")


def _doubled(attack: Attack) -> Attack | None:
    known = inspect.signature(attack.run).parameters
    steps = attack.settings.get("steps", known["steps"].default if "steps" in known else None)
    return attack.with_settings(steps=2 * steps) if isinstance(steps, int) else None
