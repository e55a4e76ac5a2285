"""Where to write the names of points so that none lies on another.

All lengths are in points (1/72 inch); a box is `(left, bottom, right, top)` and a segment `(x0, y0, x1, y1)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RINGS = (3.0, 7.0, 12.0, 18.0, 25.0, 34.0, 45.0, 60.0, 78.0, 100.0, 125.0, 150.0)  # from the marker to the box
DIRECTIONS = 24
PASSES = 40
HIDDEN, CROSSED, OVER_MARKER, OVER_LINE = 1000.0, 12.0, 12.0, 0.3  # what is bad about a place, as 6 points away are


@dataclass(frozen=True)
class Place:
    """Where a label goes: its box, the end of its leader there, and how far that is from the marker."""

    box: tuple[float, float, float, float]
    end: tuple[float, float]
    distance: float
    clear: bool


def place(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    bounds: tuple[float, float, float, float],
    *,
    radius: float = 4.0,
    avoid: Sequence[tuple[float, float, float, float]] = (),
) -> list[Place]:
    """Return a place for every label: close to its marker, on no other label and no marker, leaders apart.

    Each label in turn takes the best of its candidates given where the others are, the most crowded first, until no
    label wants to move. The same arguments always give the same places.

    Args:
        anchors: where the markers are.
        sizes: width and height of each label.
        bounds: the box that labels stay in.
        radius: of a marker, with the air around it.
        avoid: lines that labels rather do not cover.
    """
    if not len(anchors):
        return []
    at, size = np.asarray(anchors, dtype=float), np.asarray(sizes, dtype=float)
    markers = np.concatenate([at - radius, at + radius], 1)
    lines = np.asarray(avoid, dtype=float).reshape(-1, 4)
    choices = [_Candidates.around(point, extent, radius) for point, extent in zip(at, size, strict=True)]
    fixed = [
        each.own_cost(bounds, np.delete(markers, index, 0), lines) for index, each in enumerate(choices)
    ]  # what does not depend on the other labels
    near = (np.abs(at[:, None] - at[None]) < 60).all(-1).sum(1)
    order = np.argsort(-near, kind="stable")
    chosen = np.full(len(at), -1)
    for _ in range(PASSES):
        before = chosen.copy()
        for index in order:
            others = [other for other in range(len(at)) if other != index and chosen[other] >= 0]
            cost = fixed[index]
            if others:
                boxes = np.stack([choices[other].boxes[chosen[other]] for other in others])
                leaders = np.stack([choices[other].leaders[chosen[other]] for other in others])
                cost = cost + choices[index].cost_beside(boxes, leaders)
            best = int(np.argmin(cost))
            if chosen[index] < 0 or cost[best] < cost[chosen[index]] - 1e-9:
                chosen[index] = best
        if (chosen == before).all():
            break
    return [_place(index, choices, chosen, markers, bounds) for index in range(len(at))]


@dataclass(frozen=True)
class _Candidates:
    boxes: Array  # (k, 4)
    leaders: Array  # (k, 4), from the marker's centre to the nearest point of the box
    distances: Array  # (k,), of the box from the marker

    @classmethod
    def around(cls, at: Array, size: Array, radius: float) -> _Candidates:
        angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
        rings, turns = (grid.ravel() for grid in np.meshgrid(RINGS, angles, indexing="ij"))
        ways = np.stack([np.cos(turns), np.sin(turns)], 1)
        # The box touches the ring with the side or corner that faces the marker.
        centres = at + ways * (radius + rings)[:, None] + np.sign(np.round(ways, 9)) * size / 2
        boxes = np.concatenate([centres - size / 2, centres + size / 2], 1)
        ends = np.clip(at, boxes[:, :2], boxes[:, 2:])
        return cls(boxes, np.concatenate([np.broadcast_to(at, ends.shape), ends], 1), rings)

    def own_cost(self, bounds: tuple[float, float, float, float], markers: Array, lines: Array) -> Array:
        outside = (self.boxes[:, :2] < bounds[:2]).any(1) | (self.boxes[:, 2:] > bounds[2:]).any(1)
        cost = self.distances / 6 + HIDDEN * outside + HIDDEN * _overlap(self.boxes, markers).sum(1)
        cost = cost + OVER_MARKER * _through(self.leaders, markers).sum(1)
        if len(lines):
            cost = cost + OVER_LINE * _through(lines, self.boxes).sum(0)
        return cost - 1e-3 * (self.leaders[:, 2] - self.leaders[:, 0])  # rather to the right

    def cost_beside(self, boxes: Array, leaders: Array) -> Array:
        cost = HIDDEN * _overlap(self.boxes, boxes).sum(1)
        cost = cost + CROSSED * (_through(self.leaders, boxes).sum(1) + _through(leaders, self.boxes).sum(0))
        return cost + CROSSED * _cross(self.leaders, leaders).sum(1)


def _place(
    index: int,
    choices: Sequence[_Candidates],
    chosen: NDArray[np.int64],
    markers: Array,
    bounds: tuple[float, float, float, float],
) -> Place:
    mine, pick = choices[index], chosen[index]
    box = mine.boxes[pick : pick + 1]
    others = [choice.boxes[one] for at, (choice, one) in enumerate(zip(choices, chosen, strict=True)) if at != index]
    taken = np.concatenate([np.delete(markers, index, 0), np.reshape(others, (-1, 4))])
    inside = bool((box[0, :2] >= bounds[:2]).all() and (box[0, 2:] <= bounds[2:]).all())
    left, bottom, right, top = map(float, box[0])
    clear = inside and not _overlap(box, taken).any()
    end = (float(mine.leaders[pick, 2]), float(mine.leaders[pick, 3]))
    return Place((left, bottom, right, top), end, float(mine.distances[pick]), clear)


def _overlap(one: Array, other: Array) -> NDArray[np.bool_]:
    """Whether each of k boxes and each of m boxes share an area: (k, m)."""
    a, b = one[:, None], other[None]
    return np.asarray((a[..., :2] < b[..., 2:]).all(-1) & (b[..., :2] < a[..., 2:]).all(-1))


def _through(segments: Array, boxes: Array) -> NDArray[np.bool_]:
    """Whether each of k segments runs through the inside of each of m boxes: (k, m), by separating axes."""
    start, end = segments[:, None, :2], segments[:, None, 2:]
    middle, half = (boxes[None, :, :2] + boxes[None, :, 2:]) / 2, (boxes[None, :, 2:] - boxes[None, :, :2]) / 2
    away, reach = (start + end) / 2 - middle, np.abs(end - start) / 2
    along = end - start
    turned = np.abs(along[..., 0] * away[..., 1] - along[..., 1] * away[..., 0])
    across = half[..., 0] * np.abs(along[..., 1]) + half[..., 1] * np.abs(along[..., 0])
    return np.asarray((np.abs(away) < half + reach).all(-1) & (turned < across))


def _cross(one: Array, other: Array) -> NDArray[np.bool_]:
    """Whether each of k segments crosses each of m: (k, m)."""
    a, b = one[:, None], other[None]

    def side(line: Array, x: Array, y: Array) -> Array:
        dx, dy = line[..., 2] - line[..., 0], line[..., 3] - line[..., 1]
        return np.asarray(np.sign(dx * (y - line[..., 1]) - dy * (x - line[..., 0])))

    apart = side(a, b[..., 0], b[..., 1]) * side(a, b[..., 2], b[..., 3])
    return np.asarray((apart < 0) & (side(b, a[..., 0], a[..., 1]) * side(b, a[..., 2], a[..., 3]) < 0))
