"""What attacks found out about a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from .passes import Passes


@dataclass(frozen=True, eq=False)
class AttackReport:
    """The outcome of several attacks on n points at every eps of a grid. Tensors are on the CPU.

    Args:
        norm: of the threat model.
        grid: eps values, ascending, the first 0.
        headline: the eps of `grid` at which every attack was tried on every point.
        clean: booleans `(n,)`, classified correctly without an attack.
        fgsm: booleans `(len(grid), n)`, the FGSM image of that eps is classified correctly. Plain, as other libraries
            count: an image that was wrong and becomes right counts as right.
        headline_broken: per attack (FGSM included) booleans `(n,)`, broken at the headline eps or wrong without an
            attack.
        broken_at: int64 `(n,)`, the index of the smallest eps at which anything broke the point; 0 for a point that
            is wrong without an attack, `len(grid)` for one that nothing broke.
        attack_broken_at: the same for each attack. Away from the headline eps an attack is not tried on points that
            are broken already, so compare attacks at the headline only.
        useless_gradient: booleans `(n,)`, the gradient of the scale-free loss is zero or not finite.
        passes: per attack the passes through the model, per point.
        weak: the attacks that never judge alone.
    """

    norm: str
    grid: tuple[float, ...]
    headline: float
    clean: Tensor
    fgsm: Tensor
    headline_broken: dict[str, Tensor]
    broken_at: Tensor
    attack_broken_at: dict[str, Tensor]
    useless_gradient: Tensor
    passes: dict[str, Passes]
    weak: tuple[str, ...]

    def split(self, sizes: Sequence[int], passes: Sequence[Mapping[str, Passes]]) -> list[AttackReport]:
        """Return the reports of the first `sizes[0]` points, the next `sizes[1]` ..., with their passes in all."""
        ends = [0, *accumulate(sizes)]
        return [
            replace(
                self,
                clean=self.clean[start:end],
                fgsm=self.fgsm[:, start:end],
                headline_broken={name: which[start:end] for name, which in self.headline_broken.items()},
                broken_at=self.broken_at[start:end],
                attack_broken_at={name: at[start:end] for name, at in self.attack_broken_at.items()},
                useless_gradient=self.useless_gradient[start:end],
                passes={name: count.per_sample(end - start) for name, count in own.items()},
            )
            for (start, end), own in zip(pairwise(ends), passes, strict=True)
        ]

    @cached_property
    def clean_accuracy(self) -> float:
        """The share of points classified correctly without an attack."""
        return _share(self.clean)

    @cached_property
    def fgsm_accuracy(self) -> dict[float, float]:
        """For each eps the accuracy on FGSM images: a weak attack, to be shown and never to judge."""
        return {eps: _share(correct) for eps, correct in zip(self.grid, self.fgsm, strict=True)}

    @cached_property
    def robust_accuracy(self) -> dict[float, float]:
        """For each eps the share of points that nothing broke at any eps of the grid up to there; never increases."""
        return {eps: _share(self.broken_at > index) for index, eps in enumerate(self.grid)}

    @cached_property
    def attack_accuracy(self) -> dict[str, float]:
        """For each attack the share of points that it left standing at the headline eps."""
        return {name: _share(~broken) for name, broken in self.headline_broken.items()}


def _share(which: Tensor) -> float:
    return float(which.to(torch.float64).mean()) if which.numel() else 0.0
