"""How several networks are asked about the points that each has: in rectangles, some filled up with points again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..chain import Layer, through
from .ladder import Back, climb

if TYPE_CHECKING:
    from .siblings import Siblings

LEAST = 8  # points a network is asked about: with fewer, matrix products round in another way
_PADDING = 500_000  # parameters times padded points that cost less than asking once more


@dataclass(frozen=True)
class Plan:
    """How the points of the siblings are asked about: in groups, each a rectangle of networks and points."""

    counts: list[int]  # points of each network
    groups: list[_Rectangle]
    index: Tensor | None  # the points in the order of the groups, some of them twice; None where it is the identity
    back: Tensor | None  # where each point is then

    @staticmethod
    def of(siblings: Siblings) -> Plan:
        """Return the plan for the points of these siblings."""
        owner = siblings.owner
        counts = [len(owner)]
        if len(siblings.models) > 1:
            counts = torch.bincount(owner, minlength=len(siblings.models)).tolist()
        present = [number for number, count in enumerate(counts) if count] or [0]
        groups = _rectangles(siblings, counts, present)
        sizes = [(number, group.rows) for group in groups for number in group.owners]
        if [number for number, _ in sizes] == present and all(counts[number] == rows for number, rows in sizes):
            return Plan(counts, groups, None, None)
        starts = [0]
        for count in counts:
            starts.append(starts[-1] + count)
        index, placed, offset = [], [0] * len(counts), 0
        for number, rows in sizes:
            index.append(torch.arange(starts[number], starts[number] + rows).clamp_(max=starts[number + 1] - 1))
            placed[number] = offset - starts[number]
            offset += rows
        back = torch.arange(len(owner), device=owner.device) + torch.tensor(placed, device=owner.device)[owner]
        return Plan(counts, groups, torch.cat(index).to(owner.device), back)

    def ask(self, siblings: Siblings, x: Tensor) -> Any:
        """Return the logits `(n, classes)` of the points `(n, *shape)`, or what a network said that gives no tensor."""
        filled = x if self.index is None else _Picked.apply(x, self.index, self.back)
        said = [group.ask(siblings, part) for group, part in self._parts(filled)]
        if not all(isinstance(part, Tensor) for part in said):
            return said[0]
        logits = _joined(said)
        return logits if self.index is None else _Picked.apply(logits, self.back, self.index)

    def climb(self, x: Tensor) -> tuple[Tensor, Back]:
        """Return the same without a graph, and the way back, where all groups can be climbed."""
        filled = _rows(x.flatten(1), self.index)
        climbed = [group.climb(part) for group, part in self._parts(filled)]

        def back(slope: Tensor) -> Tensor:
            parts = self._parts(_rows(slope, self.index))
            slope = _joined([back(part) for (_, back), (_, part) in zip(climbed, parts, strict=True)])
            return _rows(slope, self.back).view(x.shape)

        return _rows(_joined([logits for logits, _ in climbed]), self.back), back

    def _parts(self, x: Tensor) -> list[tuple[_Rectangle, Tensor]]:
        if len(self.groups) == 1:
            return [(self.groups[0], x)]
        sizes = [len(group.owners) * group.rows for group in self.groups]
        return list(zip(self.groups, x.split(sizes), strict=True))


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
class _Rectangle:
    """Networks that are asked together, each about as many points."""

    owners: list[int]
    rows: int
    rungs: list[Layer] | None  # of these networks, if they can be climbed

    def ask(self, siblings: Siblings, x: Tensor) -> Tensor:
        if siblings.chain is None or len(self.owners) == 1:
            return siblings.models[self.owners[0]](x)
        layers = [layer.of(self.owners) for layer in siblings.chain]
        return through(layers, x.unflatten(0, (len(self.owners), self.rows))).flatten(0, 1)

    def climb(self, x: Tensor) -> tuple[Tensor, Back]:
        assert self.rungs is not None
        if len(self.owners) == 1:
            return climb(self.rungs, x)
        shape = len(self.owners), self.rows
        logits, back = climb(self.rungs, x.unflatten(0, shape))
        return logits.flatten(0, 1), lambda slope: back(slope.unflatten(0, shape)).flatten(0, 1)


def _rectangles(siblings: Siblings, counts: list[int], present: list[int]) -> list[_Rectangle]:
    """Networks with about as many points in one group, the largest first: filling up must cost less than asking."""
    asked = [max(count, LEAST) if count else 0 for count in counts]
    found: list[list[int]] = []
    spare = _PADDING // siblings.size
    for number in sorted(present, key=lambda number: -counts[number]) if siblings.chain else ():
        if found and asked[found[-1][0]] - asked[number] <= spare:
            found[-1].append(number)
        else:
            found.append([number])
    return [
        _Rectangle(sorted(owners), asked[owners[0]], _rungs(siblings, sorted(owners)))
        for owners in found or [[number] for number in present]
    ]


def _rungs(siblings: Siblings, owners: list[int]) -> list[Layer] | None:
    if siblings.rungs is None or siblings.chain is None:
        return siblings.rungs
    return [rung.of(owners) if len(owners) > 1 else rung.one(owners[0]) for rung in siblings.rungs]


def _rows(x: Tensor, at: Tensor | None) -> Tensor:
    return x if at is None else x.index_select(0, at)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
