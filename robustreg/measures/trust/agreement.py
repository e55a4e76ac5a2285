"""Whether the gradient at a point says anything about the points around it."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ...attacks.losses import scale_free
from ...noise import Rng, fold, seed_key
from ...threat import ThreatModel
from .evidence import Evidence
from .flag import Flag, flagged

ALIGNED = 0.2


def low_gradient_agreement(evidence: Evidence) -> Flag | None:
    """Compare input gradients of the scale-free loss at x and at x + eta, eta uniform in the threat model.

    Value: the mean cosine over correctly classified points, at the headline eps. Amber below `ALIGNED`, never red: a
    single step is a poor attack there, and attacks of many steps have a hard time.

    Andriushchenko and Flammarion, Understanding and improving fast adversarial training, 2020. Threshold: ours.
    """
    at = evidence.correct
    if not evidence.judges or not at.any():
        return None
    threat = ThreatModel(evidence.subject.norm, evidence.subject.headline_eps)
    rng = Rng(fold(seed_key(evidence.subject.seed), "gradient agreement"))
    near = threat.start(evidence.x, rng, torch.arange(len(evidence.y)))
    here, there = (evidence.gradient(x, scale_free).flatten(1)[at].double() for x in (evidence.x, near))
    value = float(F.cosine_similarity(here, there).mean())
    says = f"gradients at a point and at a random one beside it have a cosine of {value:.2f} on average"
    level = "amber" if value < ALIGNED else "green"
    return flagged("low_gradient_agreement", level, value, says, "a single step says little here")
