"""Transfer: what breaks one model is tried on another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from ..inference import untraced
from ..threat import ThreatModel
from .batching import BATCH, in_batches
from .gradients import outputs
from .pgd import pgd

PERSISTENT_PGD = partial(pgd, persist=True)  # an image that barely breaks one model rarely breaks another


def transfer(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    surrogate: nn.Module,
    eps: float,
    norm: str = "linf",
    attack: Callable[..., Tensor] = PERSISTENT_PGD,
    seed: int = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return adversarial images of `surrogate` for those that `model` gets right, and the others unchanged.

    `model` is asked for its clean predictions and nothing else. Where this breaks more than an attack on the model
    itself, the model hides its gradients. As an attack of an evaluation:
    `Attack("transfer", transfer, "Images of another model.", settings={"surrogate": other})`.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, floats in [0, 1]; the result has their type.
        y: int64 labels `(n,)`.
        surrogate: another such model, on the same device and with the same classes; left as it was.
        eps: budget in pixel units.
        norm: "linf" or "l2".
        attack: an `Attack`, or a function like `pgd`; default PGD that climbs on after success.
        seed: decides what is random in the attack.
        samples: a number for each sample, int64 `(n,)`, that keys its randomness; default 0, 1, 2 ...
        batch_size: images at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, or a bad setting.

    Papernot et al, Transferability in machine learning, 2016.
    """
    threat = ThreatModel(norm, eps)

    def move(x: Tensor, y: Tensor, samples: Tensor) -> Tensor:
        at = (outputs(model, x, y).argmax(-1) == y).nonzero().squeeze(1)
        moved = x.clone()
        if len(at):
            moved[at] = attack(surrogate, x[at], y[at], eps=eps, norm=norm, seed=seed, samples=samples[at])
        return moved

    with untraced(surrogate):
        return in_batches(model, x, y, threat, move, samples=samples, batch_size=batch_size)
