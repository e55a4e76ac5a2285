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
        loss: of these, `(n,)`; minus infinity for the clean ones.
    """

    def __init__(self, x: Tensor, broken: Tensor, *, persist: bool = False) -> None:
        self.best = x.clone()
        self.persist = persist
        self._stands = ~broken | persist
        self.loss = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)

    @property
    def left(self) -> Tensor:
        """Int64 positions of the samples that nothing broke, ascending; of all samples when it persists."""
        return self._stands.nonzero().squeeze(1)

    def batches(self, size: int) -> tuple[Tensor, ...]:
        """Return who is left now in batches of at most `size`; none when nobody is."""
        left = self.left
        return left.split(size) if len(left) else ()

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
        better = (broken | (at_least(losses) > self.loss[at])).nonzero().squeeze(1)
        self.keep(*kept(better, at, candidate, losses))
        self._stands[at[broken]] = False
        return (~broken).nonzero().squeeze(1)

    def keep(self, at: Tensor, images: Tensor, losses: Tensor) -> None:
        """Keep these images `(m, *shape)` and their losses, whatever was there."""
        self.best.index_copy_(0, at, images)
        self.loss.index_copy_(0, at, losses.to(self.loss.dtype))

    def judge(self, at: Tensor, right: Tensor) -> None:
        """Remember who of these samples still stands, `(m,)` booleans: the others are broken."""
        self._stands.index_copy_(0, at, right)


class Climbers:
    """The samples of one climb that are not broken yet, with the loss of the best image so far of each.

    The arithmetic of `Pursuit.record`, at a fraction of its time: what is compared at every step lies side by side.

    Args:
        pursuit: what is known of every sample; it is told at once what is found.
        at: int64 `(m,)`, which of them climb.
        y: their labels.
    """

    def __init__(self, pursuit: Pursuit, at: Tensor, y: Tensor) -> None:
        self.pursuit, self.at, self.y = pursuit, at, y
        self.loss = pursuit.loss.index_select(0, at)

    def __len__(self) -> int:
        return len(self.at)

    def look(self, candidate: Tensor, logits: Tensor, losses: Tensor) -> Tensor | None:
        """Look at the next image of each; return the positions of those that go on, None when nothing changes.

        Who is broken has left when this returns.
        """
        right = logits.argmax(-1) == self.y
        better = at_least(losses) > self.loss
        found = (better if self.pursuit.persist else better.logical_or_(~right)).nonzero().squeeze(1)
        at, images, highest = kept(found, self.at, candidate, losses)
        self.pursuit.keep(at, images, highest)
        self.loss.index_copy_(0, found, highest.to(self.loss.dtype))
        if self.pursuit.persist:
            return None
        keep = right.nonzero().squeeze(1)
        if len(keep) == len(self.at):
            return None
        self.pursuit.judge(self.at, right)
        self.at, self.y, self.loss = kept(keep, self.at, self.y, self.loss)
        return keep


def at_least(losses: Tensor) -> Tensor:
    """Return `losses` less what rounding could have added to them.

    Compared in place of the losses, so that what rounding could have done is never better: it depends on how many
    samples share a batch.
    """
    return losses - losses.abs().add_(1).mul_(64 * torch.finfo(losses.dtype).eps)


def replace(which: Tensor, *pairs: tuple[Tensor, Tensor]) -> None:
    """Overwrite in each first tensor the rows at int64 positions `which` with those of the second."""
    for tensor, other in pairs:
        tensor.index_copy_(0, which, other.index_select(0, which))


def wide(values: Tensor, images: Tensor) -> Tensor:
    """Return a value for each image, `(m,)`, in a shape that broadcasts against the images."""
    return values.reshape(-1, *[1] * (images.ndim - 1))


def kept(which: Tensor, *tensors: Tensor) -> list[Tensor]:
    """Return of each tensor the rows at int64 positions `which`."""
    return [tensor.index_select(0, which) for tensor in tensors]
