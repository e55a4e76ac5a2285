"""Labels corrupted on purpose, to see what a network memorizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError, suggest
from ..noise import Rng, fold, seed_key

MODES = ("uniform", "uniform_other", "permute", "pair_flip")


@dataclass(frozen=True, eq=False)
class Corruption:
    """Corrupted labels, and which they are.

    Args:
        y: the labels to train on, int64 (n,).
        wrong: bool (n,), where `y` now differs from the true label.
        touched: bool (n,), the samples that were chosen; with `uniform` and `permute` some keep their label by chance.
        mode: how they were changed.
        rate: the share that was asked for.
        effective_rate: the share that is wrong.
    """

    y: Tensor
    wrong: Tensor
    touched: Tensor
    mode: str
    rate: float
    effective_rate: float


def corrupt_labels(y: Tensor, classes: int, *, rate: float, mode: str = "uniform", seed: int) -> Corruption:
    """Return `y` with exactly `round(rate * n)` samples corrupted: a pure function of the arguments.

    With one seed, the samples chosen at a lower rate are among those chosen at a higher one, and in all modes but
    `permute` they get the same label at every rate: so rates compare sample by sample.

    Args:
        y: true class numbers, int64 (n,).
        classes: number of classes.
        rate: share of samples to choose, in [0, 1].
        mode: `uniform` draws over all classes, the true one included; `uniform_other` over the other classes;
            `permute` shuffles the labels among the samples chosen; `pair_flip` turns class c into c + 1, the last
            into 0.
        seed: what chooses the samples and draws the labels.

    Raises:
        UsageError: for an unknown mode, a rate outside [0, 1], or labels outside the classes.

    Zhang et al, Understanding deep learning requires rethinking generalization, 2017; `pair_flip`: Han et al,
    Co-teaching: robust training of deep neural networks with extremely noisy labels, 2018.
    """
    if mode not in MODES:
        raise UsageError(f"label corruption {mode!r} is not one of {', '.join(MODES)}.{suggest(mode, MODES)}")
    if not 0 <= rate <= 1:
        raise UsageError(f"label corruption rate must be in [0, 1], got {rate}")
    if classes < 2 or y.dtype != torch.int64 or y.ndim != 1 or bool(((y < 0) | (y >= classes)).any()):
        raise UsageError(f"labels must be int64 (n,) from 0 to {classes - 1}, and at least 2 classes")
    rng = Rng(fold(seed_key(seed), "labels"))
    count = len(y)
    true = y.cpu()
    chosen = rng.split("chosen").permutation(count)[: round(rate * count)]
    new = rng.split(mode)
    if mode == "uniform":
        other = new.integers(classes, count)
    elif mode == "uniform_other":
        other = (true + 1 + new.integers(classes - 1, count)) % classes
    elif mode == "pair_flip":
        other = (true + 1) % classes
    else:
        other = true.clone()
        other[chosen] = true[chosen][new.permutation(len(chosen))]
    touched = torch.zeros(count, dtype=torch.bool)
    touched[chosen] = True
    result = torch.where(touched, other, true)
    wrong = result != true
    effective = int(wrong.sum()) / max(count, 1)
    return Corruption(result.to(y.device), wrong.to(y.device), touched.to(y.device), mode, float(rate), effective)
