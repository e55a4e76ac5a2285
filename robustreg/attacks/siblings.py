"""Several networks of one architecture, asked about all their points at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..chain import Layer, chain_of, through
from .ladder import Ladder
from .passes import Passes

LEAST = 8  # points a network is asked about: with fewer, matrix products round in another way
_PADDING = 500_000  # parameters times padded points that cost less than asking once more


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
        self.ladder = Ladder.of(models[0], x) if len(models) == 1 else None
        self._plan: _Plan | None = None

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
        if self._plan is None:
            self._plan = _Plan.of(self)
        plan = self._plan
        if plan.alone is not None:
            logits = (self.ladder or self.models[plan.alone])(x)
        else:
            padded = x if plan.index is None else _Picked.apply(x, plan.index, plan.back)
            said = [group.ask(self.models, part) for group, part in plan.parts(padded)]
            if not all(isinstance(part, Tensor) for part in said):
                return said[0]
            logits = torch.cat(said)
            if plan.index is not None:
                logits = _Picked.apply(logits, plan.back, plan.index)
        self._count(plan.counts, logits)
        return logits

    def _count(self, counts: list[int], logits: Any) -> None:
        passes = self.passes
        for count, tally in zip(counts, passes, strict=True):
            tally.forward += count

        def backward(gradient: Tensor) -> None:
            for count, tally in zip(counts, passes, strict=True):
                tally.backward += count

        if isinstance(logits, Tensor) and logits.requires_grad:
            logits.register_hook(backward)


class _Picked(torch.autograd.Function):
    """Rows of a tensor; the derivative takes the rows back, and forgets those that only fill a rectangle."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(index, back)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient.index_select(0, ctx.saved_tensors[1]), None, None


@dataclass(frozen=True)
class _Group:
    """Networks that are asked together, each about as many points."""

    owners: list[int]
    rows: int
    layers: list[Layer] | None  # of these networks; None of a network that is asked by itself

    def ask(self, models: nn.ModuleList, x: Tensor) -> Tensor:
        if self.layers is None:
            return models[self.owners[0]](x)
        return through(self.layers, x.unflatten(0, (len(self.owners), self.rows))).flatten(0, 1)


@dataclass(frozen=True)
class _Plan:
    """How the points of the siblings are asked about: in groups, each a rectangle of networks and points."""

    counts: list[int]  # points of each network
    alone: int | None  # the only network with points, when there is nothing to fill up
    groups: list[_Group]
    index: Tensor | None  # the points in the order of the groups, some of them twice; None where it is the identity
    back: Tensor | None  # where each point is then

    @staticmethod
    def of(siblings: Siblings) -> _Plan:
        owner = siblings.owner
        counts = [len(owner)]
        if len(siblings.models) > 1:
            counts = torch.bincount(owner, minlength=len(siblings.models)).tolist()
        present = [number for number, count in enumerate(counts) if count]
        if len(present) <= 1 and (not present or counts[present[0]] >= LEAST):
            return _Plan(counts, present[0] if present else 0, [], None, None)
        groups = _groups(siblings, counts, present)
        sizes = [(number, group.rows) for group in groups for number in group.owners]
        if [number for number, _ in sizes] == present and all(counts[number] == rows for number, rows in sizes):
            return _Plan(counts, None, groups, None, None)
        starts = [0]
        for count in counts:
            starts.append(starts[-1] + count)
        index, placed, offset = [], [0] * len(counts), 0
        for number, rows in sizes:
            index.append(torch.arange(starts[number], starts[number] + rows).clamp_(max=starts[number + 1] - 1))
            placed[number] = offset - starts[number]
            offset += rows
        back = torch.arange(len(owner), device=owner.device) + torch.tensor(placed, device=owner.device)[owner]
        return _Plan(counts, None, groups, torch.cat(index).to(owner.device), back)

    def parts(self, x: Tensor) -> list[tuple[_Group, Tensor]]:
        sizes = [len(group.owners) * group.rows for group in self.groups]
        return list(zip(self.groups, x.split(sizes), strict=True))


def _groups(siblings: Siblings, counts: list[int], present: list[int]) -> list[_Group]:
    """Networks with about as many points in one group, the largest first: filling up must cost less than asking."""
    if siblings.chain is None:
        return [_Group([number], max(counts[number], LEAST), None) for number in present]
    found: list[list[int]] = []
    spare = _PADDING // siblings.size
    for number in sorted(present, key=lambda number: -counts[number]):
        if found and counts[found[-1][0]] - max(counts[number], LEAST) <= spare:
            found[-1].append(number)
        else:
            found.append([number])
    groups = []
    for owners in found:
        rows = max(counts[owners[0]], LEAST)
        owners = sorted(owners)
        layers = [layer.of(owners) for layer in siblings.chain] if len(owners) > 1 else None
        groups.append(_Group(owners, rows, layers))
    return groups


def ladder_of(model: nn.Module) -> Ladder | None:
    """Return what to climb in place of asking a network, if there is such a thing; siblings count it as a pass."""
    if not isinstance(model, Siblings):
        return model if isinstance(model, Ladder) else None
    if model.ladder is None or 0 < len(model.owner) < LEAST:
        return None
    model.passes[0].forward += len(model.owner)
    model.passes[0].backward += len(model.owner)
    return model.ladder


def rows(model: nn.Module, at: Tensor) -> nn.Module:
    """Return what to ask about the points at int64 positions `at`, ascending: a network, or part of the siblings."""
    return model.rows(at) if isinstance(model, Siblings) else model
