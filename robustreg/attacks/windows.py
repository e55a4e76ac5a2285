"""The windows of Square: where a random search changes an image, and how."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..threat import ThreatModel


class Plane:
    """A sample seen as channels of a plane: the last two dimensions are the plane, the ones before are channels.

    A flat sample is one channel of a plane that is 1 high, so that its windows are runs of neighbouring features.
    """

    def __init__(self, shape: torch.Size) -> None:
        *before, self.height, self.width = (1, 1, *shape)[-max(len(shape), 2) :]
        self.channels = math.prod(before)

    def sides(self, share: float, *, least: int = 1, odd: bool = False) -> tuple[int, int]:
        """Return height and width of a window of this share of the plane: a square, or what comes nearest to one."""
        area = share * self.height * self.width
        side = max(round(math.sqrt(area)), least)
        side += odd and side % 2 == 0
        if side <= min(self.height, self.width):
            return side, side
        if self.height <= self.width:
            return self.height, min(max(round(area / self.height), least), self.width)
        return min(max(round(area / self.width), least), self.height), self.width

    def windows(self, sides: tuple[int, int], where: Tensor) -> Tensor:
        """Return the flat positions of a window for each sample: `(m, area)` from two uniforms `(m, 2)`."""
        free = torch.tensor([self.height - sides[0] + 1, self.width - sides[1] + 1], device=where.device)
        row, column = (where * free).long().unbind(1)
        rows = torch.arange(sides[0], device=where.device) * self.width
        inside = (rows[:, None] + torch.arange(sides[1], device=where.device)).flatten()
        return (row * self.width + column)[:, None] + inside


class LinfMoves:
    """Every pixel of a window goes to one end of what is allowed, the same end within a channel.

    Args:
        threat: the threat model.
        plane: of the images.
        x: clean images `(m, channels, pixels)`.
    """

    uniforms = 2

    def __init__(self, threat: ThreatModel, plane: Plane, x: Tensor) -> None:
        self.plane = plane
        self.ends = torch.cat(threat.bounds(x), -1)

    def keep(self, which: Tensor) -> None:
        """Forget the other samples."""
        self.ends = self.ends[which]

    def signs_to_start(self) -> tuple[int, ...]:
        """How many random signs `start` takes."""
        return self.plane.channels, 1, self.plane.width

    def start(self, signs: Tensor) -> Tensor:
        """Return images of vertical stripes."""
        signs = signs.expand(-1, -1, self.plane.height, -1).flatten(2)
        return self._at(torch.arange(signs.shape[-1], device=signs.device), signs)

    def propose(self, best: Tensor, share: float, where: Tensor, signs: Tensor) -> Tensor:
        """Return `best` changed in a window of a share of the plane; uniforms `(m, 2)`, signs `(m, channels + 1)`."""
        window = self.plane.windows(self.plane.sides(share), where)[:, None]
        return best.scatter(2, window.expand(-1, best.shape[1], -1), self._at(window, signs[:, :-1, None]))

    def _at(self, position: Tensor, signs: Tensor) -> Tensor:
        return self.ends.gather(2, position + signs * (self.ends.shape[2] // 2))


class L2Moves:
    """The length a window has, and what no pixel used yet, is moved to another window, as two hills of opposite sign.

    The arguments are those of `LinfMoves`.
    """

    uniforms = 4

    def __init__(self, threat: ThreatModel, plane: Plane, x: Tensor) -> None:
        self.threat, self.plane, self.x = threat, plane, x

    def keep(self, which: Tensor) -> None:
        """Forget the other samples."""
        self.x = self.x[which]

    def signs_to_start(self) -> tuple[int, ...]:
        """How many random signs `start` takes."""
        rows, columns = (max(1, side // max(1, side // 5)) for side in (self.plane.height, self.plane.width))
        return self.plane.channels, rows, columns

    def start(self, signs: Tensor) -> Tensor:
        """Return images of about 5 x 5 tiles."""
        plane = self.plane
        sides = max(1, plane.height // 5), max(1, plane.width // 5)
        tile = hills(*sides, self.x)[0].reshape(sides)
        change = torch.kron((2 * signs - 1).to(self.x.dtype), tile)
        lacking = plane.width - change.shape[-1], plane.height - change.shape[-2]
        margins = [part for side in lacking for part in (side // 2, side - side // 2)]
        return self._whole(torch.nn.functional.pad(change, margins).flatten(2))

    def propose(self, best: Tensor, share: float, where: Tensor, signs: Tensor) -> Tensor:
        """Return `best` changed in two windows; uniforms `(m, 4)`, signs `(m, channels + 1)`."""
        sides = self.plane.sides(share, least=3, odd=True)
        given, taken = (
            self.plane.windows(sides, where[:, at : at + 2])[:, None].expand(-1, best.shape[1], -1) for at in (0, 2)
        )
        change = best - self.x
        left = change.scatter(2, taken, 0.0).scatter_(2, given, 0.0)
        unused = (self.threat.eps**2 - change.square().sum((1, 2), keepdim=True)).clamp_min(0) / best.shape[1]
        length = ((change - left).square().sum(2, keepdim=True) + unused).sqrt()
        hill = hills(*sides, best)[signs[:, -1].long()][:, None] * (2 * signs[:, :-1, None] - 1).to(best.dtype)
        fresh = _unit(hill + _unit(change.gather(2, given), 2), 2) * length
        return self._whole(left.scatter_(2, given, fresh))

    def _whole(self, change: Tensor) -> Tensor:
        """The images changed by all of the budget, as far as the box lets them."""
        return self.threat.project(self.x + _unit(change, (1, 2)) * self.threat.eps, self.x)


def hills(height: int, width: int, like: Tensor) -> Tensor:
    """Return two patterns `(2, height * width)` of length 1: a hill beside its negative, split by rows or columns."""
    by_rows = torch.cat((_hill(height // 2, width, like), -_hill(height - height // 2, width, like)))
    by_columns = torch.cat((_hill(width // 2, height, like), -_hill(width - width // 2, height, like))).T
    if min(height, width) == 1:  # a line is split along its length only
        by_rows = by_columns = by_rows if width == 1 else by_columns
    return _unit(torch.stack((by_rows.flatten(), by_columns.flatten())), 1)


def _hill(height: int, width: int, like: Tensor) -> Tensor:
    """Nested rectangles that add up to a hill: the k-th from its top adds 1 / k**2."""
    rows, columns = (torch.arange(side, device=like.device) - side // 2 for side in (height, width))
    distance = torch.maximum(rows.abs()[:, None], columns.abs())
    terms = 1 / torch.arange(1, max(height, width) // 2 + 2, device=like.device, dtype=like.dtype).square()
    return terms.flip(0).cumsum(0).flip(0)[distance]


def _unit(change: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    return change / change.square().sum(dim, keepdim=True).sqrt().clamp_min(torch.finfo(change.dtype).tiny)
