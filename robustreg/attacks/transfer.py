"""Transfer: what breaks one model is tried on another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from ..inference import untraced
from ..threat import ThreatModel
from .batching import BATCH, in_batches
from .pgd import pgd
from .points import Points
from .siblings import Siblings

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

    def move(points: Points) -> Tensor:
        at = (points.logits(batch_size).argmax(-1) == points.y).nonzero().squeeze(1)
        moved = points.x.clone()
        if len(at):
            some = points[at]
            moved[at] = attack(surrogate, some.x, some.y, eps=eps, norm=norm, seed=seed, samples=some.samples)
        return moved

    with untraced(surrogate):
        return in_batches(model, x, y, threat, move, samples=samples, batch_size=batch_size)


class Surrogate:
    """A model whose adversarial images are tried on others: each is made once, whoever asks, and kept.

    The images are those of `transfer` with its default attack, for the first images of one test split. In a study the
    baseline of a seed is the surrogate of all other arms of that seed: it is attacked once, and they pay for looking.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._kept: dict[tuple[str, float, int], tuple[Tensor, Tensor, Tensor]] = {}

    def images(self, x: Tensor, y: Tensor, at: Tensor, *, eps: float, norm: str, seed: int) -> Tensor:
        """Return the adversarial images of the points at int64 positions `at` of `x`, `(len(at), *shape)`."""
        make_images([self], [x], [y], [at], eps=eps, norm=norm, seeds=[seed])
        return self._kept[norm, eps, seed][1][at]

    def _missing(self, x: Tensor, at: Tensor, norm: str, eps: float, seed: int) -> Tensor:
        """The positions in `at` without an image so far; other images than last time have none."""
        known = self._kept.get((norm, eps, seed))
        if known is None or not torch.equal(known[0], x):
            known = x, x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
            self._kept[norm, eps, seed] = known
        return at[~known[2][at]]


def make_images(
    surrogates: Sequence[Surrogate],
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    at: Sequence[Tensor],
    *,
    eps: float,
    norm: str,
    seeds: Sequence[int],
) -> None:
    """Make what is missing of the images of several surrogates of one architecture, all at once, and keep them.

    Args:
        surrogates: on one device; one may occur twice.
        x: clean images for each, `(n, *shape)`.
        y: their labels.
        at: int64 positions, ascending, whose images will be asked for.
        eps: budget in pixel units.
        norm: "linf" or "l2".
        seeds: what decides the random starts of each.
    """
    wanted: dict[tuple[int, int], tuple[Surrogate, int, Tensor, Tensor, Tensor]] = {}
    for surrogate, images, labels, here, seed in zip(surrogates, x, y, at, seeds, strict=True):
        missing = surrogate._missing(images, here, norm, eps, seed)
        if (id(surrogate), seed) in wanted:
            missing = torch.cat((missing, wanted[id(surrogate), seed][4])).unique()
        if len(missing):
            wanted[id(surrogate), seed] = surrogate, seed, images[missing], labels[missing], missing
    if not wanted:
        return
    makers, own, clean_parts, label_parts, where_parts = zip(*wanted.values(), strict=True)
    with torch.inference_mode(False), ExitStack() as stack:
        for maker in makers:
            stack.enter_context(untraced(maker.model))
        clean, sizes = torch.cat(clean_parts), [len(part) for part in clean_parts]
        moved = PERSISTENT_PGD(
            Siblings([maker.model for maker in makers], clean, sizes),
            clean,
            torch.cat(label_parts),
            eps=eps,
            norm=norm,
            seed=torch.tensor(own).repeat_interleave(torch.tensor(sizes)),
            samples=torch.cat(where_parts),
            batch_size=BATCH * len(makers),
        )
    for maker, seed, where, made in zip(makers, own, where_parts, moved.split(sizes), strict=True):
        _, kept, have = maker._kept[norm, eps, seed]
        kept[where], have[where] = made, True
