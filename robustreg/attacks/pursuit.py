"""The active set of an iterative attack: who is not broken yet, and the best image found for everyone."""

from __future__ import annotations

import torch
from torch import Tensor


class Pursuit:
    """What an attack has found so far for each of its samples.

    Args:
        x: clean images `(n, *shape)`.
        broken: booleans `(n,)`; these samples are wrong already, are never attacked, and stay as they are.
        persist: attack every sample to the end, and judge images by their loss alone.

    Attributes:
        best: for each sample the image that broke it, else the one of highest loss, else the clean one.
        left: int64 positions of the samples that nothing broke; of all samples when it persists.
    """

    def __init__(self, x: Tensor, broken: Tensor, *, persist: bool = False) -> None:
        self.best = x.clone()
        self.persist = persist
        self.left = (~broken | persist).nonzero().squeeze(1)
        self._loss = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)

    def record(self, at: Tensor, candidate: Tensor, losses: Tensor, broken: Tensor) -> Tensor:
        """Keep what is better than before, and return the positions in `at` of the samples still to be broken.

        Args:
            at: int64 `(m,)`, which samples these are.
            candidate: `(m, *shape)` images.
            losses: `(m,)`, higher is better for the attack.
            broken: `(m,)` booleans, whether the image is misclassified.
        """
        if self.persist:
            broken = torch.zeros_like(broken)
        better = (broken | (at_least(losses) > self._loss[at])).nonzero().squeeze(1)
        where = at[better]
        self.best[where] = candidate[better]
        self._loss[where] = losses[better].to(self._loss.dtype)
        return (~broken).nonzero().squeeze(1)


def at_least(losses: Tensor) -> Tensor:
    """Return `losses` less what rounding could have added to them.

    Compared in place of the losses, so that what rounding could have done is never better: it depends on how many
    samples share a batch.
    """
    return losses - 64 * torch.finfo(losses.dtype).eps * (1 + losses.abs())
