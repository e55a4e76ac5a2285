"""What nothing else beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def pareto_front(points: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the names of the points that no other equals everywhere and exceeds somewhere, by their coordinates.

    Args:
        points: coordinates by name, the same number for each; more is better in all.
    """
    places = {name: tuple(point) for name, point in points.items()}

    def beaten(name: str) -> bool:
        mine = places[name]
        return any(
            other != mine and all(theirs >= own for theirs, own in zip(other, mine, strict=True))
            for other in places.values()
        )

    return sorted((name for name in places if not beaten(name)), key=lambda name: places[name])
