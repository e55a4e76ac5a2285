"""An ensemble of strong attacks without a knob to turn: each works on what the ones before left standing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError, suggest
from ..threat import ThreatModel
from .apgd import apgd, apgd_targeted
from .batching import BATCH, attacked
from .points import Points
from .square import square

Members = tuple[tuple[Callable[..., Tensor], Mapping[str, Any]], ...]

VERSIONS: Mapping[str, Members] = {
    "standard": (
        (apgd, {"steps": 100, "loss": "scale_free"}),
        (apgd_targeted, {"steps": 100, "targets": 9}),
        (square, {"queries": 5000}),
    ),
    "fast": (
        (apgd, {"steps": 50, "loss": "scale_free"}),
        (apgd_targeted, {"steps": 50, "targets": 3}),
        (square, {"queries": 500}),
    ),
}


def autoattack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    version: str = "standard",
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image one that the model gets wrong, if any was found, else the one Auto-PGD ended with.

    "standard" is the composition of AutoAttack less FAB: Auto-PGD of 100 steps on the scale-free loss (in the place of
    cross-entropy, of which it is the form that does not saturate), targeted Auto-PGD on the DLR loss towards the 9
    likeliest wrong classes, and Square of 5,000 queries. FAB, a search for the smallest change, is left out and nothing
    stands in its place: call a number found with this "AutoAttack without FAB"; it can only be higher than the whole
    ensemble's. "fast" costs a fifth of the gradients and a tenth of the queries: 50 steps, 3 targets, 500 queries.
    Below 4 classes, where the targeted DLR loss does not exist, the targeted margin takes its place.

    Only images that are still classified correctly go on to the next attack. Images the model already gets wrong are
    returned unchanged. The result of an image does not depend on its batch.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, floats in [0, 1]; the result has their type.
        y: int64 labels `(n,)`.
        eps: budget in pixel units.
        norm: "linf" or "l2".
        version: "standard" or "fast".
        seed: decides what is random, together with the sample.
        samples: a number for each sample, int64 `(n,)`, that keys its randomness; default 0, 1, 2 ...
        batch_size: images at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, or a bad eps, norm or version.

    Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    2020.
    """
    threat = ThreatModel(norm, eps)
    if version not in VERSIONS:
        raise UsageError(
            f"version must be one of {', '.join(VERSIONS)}, got {version!r}.{suggest(str(version), VERSIONS)}"
        )

    def ensemble(points: Points) -> Tensor:
        found = points.x.clone()
        left = standing(points, batch_size).nonzero().squeeze(1)
        for attack, settings in VERSIONS[version]:
            if not len(left):
                break
            some = points[left]
            known: dict[str, Any] = {"seed": some.seed, "samples": some.samples, "batch_size": batch_size, **settings}
            moved = attack(some.model, some.x, some.y, eps=eps, norm=norm, **known)
            stands = standing(replace(some, x=moved), batch_size)
            keep = torch.ones_like(stands) if attack is apgd else ~stands  # what Auto-PGD ended with is worth a look
            found[left[keep]] = moved[keep]
            left = left[stands]
        return found

    return attacked(model, x, y, threat, ensemble, seed=seed, samples=samples, batch_size=batch_size)


def standing(points: Points, batch_size: int) -> Tensor:
    """Return for each image whether it is classified correctly, `(n,)` booleans."""
    return points.logits(batch_size).argmax(-1) == points.y
