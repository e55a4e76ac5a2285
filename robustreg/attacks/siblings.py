"""Several networks of one architecture, asked about all their points at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..chain import chain_of
from .ladder import Back, Ladder, rungs_of
from .passes import Passes
from .plan import LEAST, Plan


class Siblings(nn.Module):
    """One network or K, each of which answers for its own points: from all points to their logits.

    Stands where an attack expects a network, and is asked only about the points it was made for: `rows` gives the
    siblings for some of them. Chains of linear layers answer in one batched matrix product, with the bits of each
    network alone where 4 divides all widths; other networks answer one after the other. A network is never asked
    about fewer than `LEAST` points, so that what it says of a point does not hang on how many others are left.

    Args:
        models: K networks on one device, of one architecture; in evaluation mode while they are asked.
        x: clean images `(n, *shape)` of all points, those of a network side by side.
        sizes: how many points each network has.
    """

    def __init__(self, models: Sequence[nn.Module], x: Tensor, sizes: Sequence[int]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.sizes = list(sizes)
        owner = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        if len(models) > 1:
            owner = torch.arange(len(models)).repeat_interleave(torch.tensor(sizes)).to(x.device)
        self.chain = None
        if len(models) > 1 and min(sizes) and x.is_floating_point():
            first = [part[torch.arange(LEAST, device=x.device) % len(part)] for part in x.split(list(sizes))]
            self.chain = chain_of(models, torch.stack(first))
        self.size = max(1, sum(parameter.numel() for parameter in models[0].parameters()))
        self.owner = owner
        self.at: Tensor | None = None  # positions of these points among those that the clean logits are of
        self.clean: tuple[Tensor, Tensor] | None = None
        self.passes = [Passes() for _ in models]
        self.rungs = rungs_of(self.chain, x) if self.chain else None  # of one network, or of K
        if len(models) == 1 and (ladder := Ladder.of(models[0], x)) is not None:
            self.rungs = ladder.rungs
        self._plan: Plan | None = None

    def rows(self, at: Tensor) -> Siblings:
        """Return the siblings for the points at int64 positions, ascending."""
        some = copy.copy(self)
        some.owner = self.owner.index_select(0, at)
        some.at = at if self.at is None else self.at.index_select(0, at)
        some._plan = None
        return some

    def remember(self, x: Tensor, logits: Tensor) -> None:
        """Keep the logits `(n, classes)` of the clean images of all points, for whoever asks for them again."""
        self.clean = x, logits

    def remembered(self, x: Tensor) -> Tensor | None:
        """Return the logits of `x` if these are the clean images of the points, else None."""
        if self.clean is None:
            return None
        images, logits = self.clean if self.at is None else (part.index_select(0, self.at) for part in self.clean)
        return logits if torch.equal(images, x) else None

    def forward(self, x: Tensor) -> Any:
        """Return the logits `(n, classes)` of the points `(n, *shape)`; what a single network returns, as it is."""
        if self.rungs is not None and not torch.is_grad_enabled():
            return self.climb(x)[0]
        plan = self._planned()
        logits = plan.ask(self, x)
        if not isinstance(logits, Tensor):
            return logits
        backward = self._count(plan.counts)
        if logits.requires_grad:
            logits.register_hook(backward)
        return logits

    def climb(self, x: Tensor) -> tuple[Tensor, Back]:
        """Return the logits, and the way back, as `Ladder.climb` does; only where there are `rungs`."""
        plan = self._planned()
        logits, back = plan.climb(x)
        count = self._count(plan.counts)

        def counted(slope: Tensor) -> Tensor:
            count(slope)
            return back(slope)

        return logits, counted

    def _planned(self) -> Plan:
        if self._plan is None:
            self._plan = Plan.of(self)
        return self._plan

    def _count(self, counts: list[int]) -> Callable[[Tensor], None]:
        """Count a pass of these points, and return what counts their derivatives."""
        passes = self.passes
        for count, tally in zip(counts, passes, strict=True):
            tally.forward += count

        def backward(gradient: Tensor) -> None:
            for count, tally in zip(counts, passes, strict=True):
                tally.backward += count

        return backward


def ladder_of(model: nn.Module) -> Ladder | Siblings | None:
    """Return what can be climbed in place of asking a network, if it is such a thing."""
    return model if isinstance(model, Ladder) or (isinstance(model, Siblings) and model.rungs is not None) else None


def rows(model: nn.Module, at: Tensor) -> nn.Module:
    """Return what to ask about the points at int64 positions `at`, ascending: a network, or part of the siblings."""
    return model.rows(at) if isinstance(model, Siblings) else model
