"""The tutorial's animal faces where the user has them, and what stands in for them elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from ..data import Dataset, Splits, datasets, load_dataset, make_splits
from ..data.options import PARTS, parse

STAND_IN, FACES = "mnist358", "afhq"

Data = str | Callable[[int], Splits]


def have_faces() -> bool:
    """Whether the animal faces have been downloaded, by `robustreg data get afhq`."""
    return next(source for source in datasets() if source.name == FACES).cached()


def with_faces(data: str, path: str | Path | None) -> tuple[str, Data]:
    """Return the name of what a study is run on, and that data: the faces where it names what stands in for them.

    Sizes of the parts stay; other options of the stand-in, such as its noise, mean nothing for photographs.

    Args:
        data: as a recipe has it.
        path: where the user's faces are; "" for those that were downloaded, None for the stand-in.

    Raises:
        UsageError: for a name or option that does not exist.
        DataError: for faces that are not there.
    """
    if path is None or data.partition(":")[0] != STAND_IN:
        return data, data
    _, options = parse(data, {source.name: source for source in datasets()})
    sizes = {part: options[part] for part in PARTS if part in options}
    said = ",".join(f"{part}={size}" for part, size in sizes.items())
    dataset = _faces(str(path))

    def load(seed: int) -> Splits:
        return make_splits(dataset, seed=seed, **sizes)

    load.__name__ = f"{FACES}:{said}" if said else FACES
    return load.__name__, load


@cache
def _faces(path: str) -> Dataset:
    """The faces, read once for all studies of a course."""
    return load_dataset(FACES, path=path)[0]
