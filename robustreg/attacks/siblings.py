"""Several networks of one architecture, asked about all their points at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..chain import Layer, chain_of, through
from .ladder import Back, Ladder, climb, rungs_of
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
        self.rungs = rungs_of(self.chain, x) if self.chain else None  # of one network, or of K
        if len(models) == 1 and (ladder := Ladder.of(models[0], x)) is not None:
            self.rungs = ladder.rungs
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
        if self.rungs is not None and not torch.is_grad_enabled():
            return self.climb(x)[0]
        plan = self._planned()
        padded = x if plan.index is None else _Picked.apply(x, plan.index, plan.back)
        said = [group.ask(self.models, part) for group, part in plan.parts(padded)]
        if not all(isinstance(part, Tensor) for part in said):
            return said[0]
        logits = _joined(said)
        if plan.index is not None:
            logits = _Picked.apply(logits, plan.back, plan.index)
        backward = self._count(plan.counts)
        if logits.requires_grad:
            logits.register_hook(backward)
        return logits

    def climb(self, x: Tensor) -> tuple[Tensor, Back]:
        """Return the logits, and the way back, as `Ladder.climb` does; only where there are `rungs`."""
        plan = self._planned()
        padded = x.flatten(1) if plan.index is None else x.flatten(1).index_select(0, plan.index)
        climbed = [group.climb(part) for group, part in plan.parts(padded)]
        logits = _joined([part for part, _ in climbed])
        if plan.back is not None:
            logits = logits.index_select(0, plan.back)
        backward = self._count(plan.counts)

        def back(slope: Tensor) -> Tensor:
            backward(slope)
            if plan.index is not None:
                slope = slope.index_select(0, plan.index)
            slope = _joined([back(part) for (_, back), (_, part) in zip(climbed, plan.parts(slope), strict=True)])
            return (slope if plan.back is None else slope.index_select(0, plan.back)).view(x.shape)

        return logits, back

    def _planned(self) -> _Plan:
        if self._plan is None:
            self._plan = _Plan.of(self)
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
    rungs: list[Layer] | None  # of the same, if they can be climbed

    def ask(self, models: nn.ModuleList, x: Tensor) -> Tensor:
        if self.layers is None:
            return models[self.owners[0]](x)
        return through(self.layers, x.unflatten(0, (len(self.owners), self.rows))).flatten(0, 1)

    def climb(self, x: Tensor) -> tuple[Tensor, Back]:
        assert self.rungs is not None
        if len(self.owners) == 1:
            return climb(self.rungs, x)
        shape = len(self.owners), self.rows
        logits, back = climb(self.rungs, x.unflatten(0, shape))
        return logits.flatten(0, 1), lambda slope: back(slope.unflatten(0, shape)).flatten(0, 1)


@dataclass(frozen=True)
class _Plan:
    """How the points of the siblings are asked about: in groups, each a rectangle of networks and points."""

    counts: list[int]  # points of each network
    groups: list[_Group]
    index: Tensor | None  # the points in the order of the groups, some of them twice; None where it is the identity
    back: Tensor | None  # where each point is then

    @staticmethod
    def of(siblings: Siblings) -> _Plan:
        owner = siblings.owner
        counts = [len(owner)]
        if len(siblings.models) > 1:
            counts = torch.bincount(owner, minlength=len(siblings.models)).tolist()
        present = [number for number, count in enumerate(counts) if count] or [0]
        groups = _groups(siblings, counts, present)
        sizes = [(number, group.rows) for group in groups for number in group.owners]
        if [number for number, _ in sizes] == present and all(counts[number] == rows for number, rows in sizes):
            return _Plan(counts, groups, None, None)
        starts = [0]
        for count in counts:
            starts.append(starts[-1] + count)
        index, placed, offset = [], [0] * len(counts), 0
        for number, rows in sizes:
            index.append(torch.arange(starts[number], starts[number] + rows).clamp_(max=starts[number + 1] - 1))
            placed[number] = offset - starts[number]
            offset += rows
        back = torch.arange(len(owner), device=owner.device) + torch.tensor(placed, device=owner.device)[owner]
        return _Plan(counts, groups, torch.cat(index).to(owner.device), back)

    def parts(self, x: Tensor) -> list[tuple[_Group, Tensor]]:
        sizes = [len(group.owners) * group.rows for group in self.groups]
        return list(zip(self.groups, x.split(sizes), strict=True))


def _groups(siblings: Siblings, counts: list[int], present: list[int]) -> list[_Group]:
    """Networks with about as many points in one group, the largest first: filling up must cost less than asking."""
    asked = [max(count, LEAST) if count else 0 for count in counts]
    found: list[list[int]] = []
    spare = _PADDING // siblings.size if siblings.chain else -1
    for number in sorted(present, key=lambda number: -counts[number]):
        if found and asked[found[-1][0]] - asked[number] <= spare:
            found[-1].append(number)
        else:
            found.append([number])
    if siblings.chain is None:
        found = [[number] for number in present]
    return [_group(siblings, sorted(owners), asked[owners[0]]) for owners in found]


def _group(siblings: Siblings, owners: list[int], rows: int) -> _Group:
    chain, rungs = siblings.chain, siblings.rungs
    if chain is None:
        return _Group(owners, rows, None, rungs)
    if len(owners) == 1:
        return _Group(owners, rows, None, rungs and [rung.one(owners[0]) for rung in rungs])
    return _Group(owners, rows, [layer.of(owners) for layer in chain], rungs and [rung.of(owners) for rung in rungs])


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def ladder_of(model: nn.Module) -> Ladder | Siblings | None:
    """Return what can be climbed in place of asking a network, if it is such a thing."""
    return model if isinstance(model, Ladder) or (isinstance(model, Siblings) and model.rungs is not None) else None


def rows(model: nn.Module, at: Tensor) -> nn.Module:
    """Return what to ask about the points at int64 positions `at`, ascending: a network, or part of the siblings."""
    return model.rows(at) if isinstance(model, Siblings) else model
