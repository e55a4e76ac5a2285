"""Random images inside the threat model: what breaks under these needed no attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..noise import Rng, fold
from ..threat import ThreatModel
from .batching import BATCH, attacked
from .gradients import outputs
from .losses import margin
from .points import Points
from .pursuit import Pursuit

Draw = Callable[[ThreatModel, Tensor, Rng, Tensor], Tensor]


def uniform_noise(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    draws: int = 10,
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image the worst of `draws` images drawn uniformly from its threat model.

    The worst is one that the model gets wrong, else the one of largest margin loss. No gradients are used, so a model
    that hides its gradients hides nothing here. Images the model already gets wrong are returned unchanged.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, floats in [0, 1]; the result has their type.
        y: int64 labels `(n,)`.
        eps: budget in pixel units.
        norm: "linf" or "l2".
        draws: images tried.
        seed: decides the draws, together with draw and sample.
        samples: a number for each sample, int64 `(n,)`, that keys its draws; default 0, 1, 2 ...
        batch_size: images at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, or a bad setting.

    Carlini et al, On evaluating adversarial robustness, 2019 (random search as a sanity test).
    """
    attack = _worst_of("uniform noise", threat := ThreatModel(norm, eps), draws, batch_size, _inside)
    return attacked(model, x, y, threat, attack, seed=seed, samples=samples, batch_size=batch_size)


def corner_noise(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    draws: int = 10,
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image the worst of `draws` random corners of its threat model.

    As `uniform_noise`, but every pixel goes up or down by the same amount, as far as the budget allows: by eps in
    "linf", by eps over the root of the number of pixels in "l2". Far from the image, and so the harder test.

    Args and errors are those of `uniform_noise`.
    """
    attack = _worst_of("corner noise", threat := ThreatModel(norm, eps), draws, batch_size, _corner)
    return attacked(model, x, y, threat, attack, seed=seed, samples=samples, batch_size=batch_size)


def _inside(threat: ThreatModel, x: Tensor, rng: Rng, samples: Tensor) -> Tensor:
    return threat.start(x, rng, samples)


def _corner(threat: ThreatModel, x: Tensor, rng: Rng, samples: Tensor) -> Tensor:
    def signs(key: Tensor) -> Tensor:
        return 2.0 * Rng(key, x.device).bernoulli(0.5, *x.shape[1:]) - 1.0

    direction = torch.func.vmap(signs)(torch.as_tensor(fold(rng.key, samples))).to(x.dtype)
    return threat.project(threat.step(x, direction, threat.eps), x)


def _worst_of(name: str, threat: ThreatModel, draws: int, batch_size: int, draw: Draw) -> Callable[[Points], Tensor]:
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}")

    def attack(points: Points) -> Tensor:
        pursuit = Pursuit(points.x, broken=points.logits(batch_size).argmax(-1) != points.y)
        for number in range(draws):
            for at in pursuit.batches(batch_size):
                some = points[at]
                image = draw(threat, some.x, some.rng(name, number), some.samples)
                logits = outputs(some.model, image)
                pursuit.record(at, image, margin(logits, some.y), logits.argmax(-1) != some.y)
        return pursuit.best

    return attack
