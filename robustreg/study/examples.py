"""A few test images before and after an attack, to look at."""

from __future__ import annotations

from typing import Any

import torch

from ..attacks import pgd
from ..inference import untraced
from ..measures import Subject

SHOWN = 3


def examples(subject: Subject) -> dict[str, Any]:
    """Return the first test images with their PGD images at the headline eps, labels and predictions, as lists."""
    x, y = next(subject.splits.test.batches(None, SHOWN, subject.device))
    attacked = pgd(subject.model, x, y, eps=subject.headline_eps, norm=subject.norm, steps=20, seed=subject.seed)
    with untraced(subject.model), torch.no_grad():
        predicted = [subject.model(images).argmax(-1).tolist() for images in (x, attacked)]
    return {
        "clean": x.cpu().double().mul(1e4).round().div(1e4).tolist(),
        "adversarial": attacked.cpu().double().mul(1e4).round().div(1e4).tolist(),
        "label": y.tolist(),
        "predicted_clean": predicted[0],
        "predicted": predicted[1],
    }
