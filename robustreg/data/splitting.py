"""Drawing the splits of a data set: a pure function of (data set, seed), stratified, with no image in two of them."""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor

from ..errors import DataError
from ..noise import Rng, fold, seed_key
from .dataset import Dataset
from .split import Split, Splits, pick
from .strata import stratified

PARTS = ("train", "val", "test")
SHARES = (0.60, 0.15, 0.25)  # of data without parts
SHARES_OF_TRAIN = (0.0, 0.10, 0.25)  # where the data brings some parts, and not this one


def make_splits(
    dataset: Dataset, *, seed: int, train: int | None = None, val: int | None = None, test: int | None = None
) -> Splits:
    """Return train, validation and test split of `dataset`, drawn with `seed`.

    Every class's share of every part is right to within one image. Sizes are counts; by default the data set's own
    `sizes`, or 60, 15 and 25 % of it. A part the data set brings stays what it is (fewer images of it when asked), and
    what it does not bring is drawn from its train part: 10 % for validation, 25 % for test. Of equal images one is
    kept: a given test image before a given validation image before the rest, the first before later ones.

    Raises:
        DataError: for sizes larger than the data, or a class without an image in a part.
    """
    asked = (train, val, test)
    for part, size in zip(PARTS, asked, strict=True):
        if size is not None and size < (0 if part == "val" else 1):
            raise DataError(f"data {dataset.name!r}: {part}={size} is not a number of images; give a positive one")
    pools, notes = _without_duplicates(dataset)
    sizes = _sizes(dataset, [len(pool) for pool in pools], asked)
    rng = Rng(fold(seed_key(seed), "split"))
    parts: dict[str, Split] = {}
    for part, indices in zip(PARTS, _draw(dataset.y, pools, sizes, rng), strict=True):
        _check_complete(dataset, part, indices)
        parts[part] = Split(pick(dataset.x, indices), dataset.y[indices], dataset.classes, indices)
    return _joined(dataset, parts, seed, notes)


def as_test(dataset: Dataset, *, seed: int = 0) -> Splits:
    """Return splits in which every image of `dataset` is a test image, in random order: for a model trained elsewhere.

    The training and validation splits are empty.
    """
    order = Rng(fold(seed_key(seed), "split")).permutation(len(dataset))
    parts = {
        part: Split(pick(dataset.x, indices), dataset.y[indices], dataset.classes, indices)
        for part, indices in zip(PARTS, (order[:0], order[:0], order), strict=True)
    }
    return _joined(dataset, parts, seed, ())


def _joined(dataset: Dataset, parts: dict[str, Split], seed: int, notes: tuple[str, ...]) -> Splits:
    total = sha256(dataset.fingerprint.encode())
    for split in parts.values():
        total.update(len(split).to_bytes(8, "little") + split.indices.numpy().tobytes())
    return Splits(
        **parts,
        name=dataset.name,
        classes=dataset.classes,
        shape=dataset.shape,
        hash=total.hexdigest(),
        seed=seed,
        notes=dataset.notes + notes,
    )


def _without_duplicates(data: Dataset) -> tuple[list[Tensor], tuple[str, ...]]:
    """Return the indices of train (or all), given validation and given test images, and a note of what is left out.

    Inside a given validation or test part equal images stay: the part is what its owner published.
    """
    part = torch.zeros(len(data), dtype=torch.int8) if data.part is None else data.part
    digests, labels = data.digests, data.y.tolist()
    seen: dict[bytes, int] = {}
    pools = []
    dropped = conflicts = 0
    for number in (2, 1, 0):
        mine: dict[bytes, int] = {}
        kept = []
        for index in torch.nonzero(part == number).flatten().tolist():
            digest = digests[index]
            twin = seen.get(digest, mine.get(digest) if number == 0 else None)
            if twin is None:
                kept.append(index)
                mine.setdefault(digest, index)
            else:
                dropped += 1
                conflicts += labels[twin] != labels[index]
        seen.update(mine)
        pools.append(torch.tensor(kept, dtype=torch.int64))
    if not dropped:
        return pools[::-1], ()
    note = f"dropped {dropped} exact duplicate image{'s' if dropped > 1 else ''}"
    if conflicts:
        note += f", {conflicts} of them with another label than the image kept"
    return pools[::-1], (note,)


def _sizes(data: Dataset, have: list[int], asked: tuple[int | None, ...]) -> list[int]:
    """Return how many images each part gets, as asked or by default; a DataError if there are not enough."""
    sizes = list(asked)
    pool = have[0]
    for number in (1, 2):
        if have[number]:
            available = have[number]
            if (sizes[number] or 0) > available:
                raise DataError(f"data {data.name!r}: {PARTS[number]}={sizes[number]} of {available} given images")
            sizes[number] = available if sizes[number] is None else sizes[number]
        elif sizes[number] is None:
            whole = not (have[1] or have[2])
            shares = SHARES if whole else SHARES_OF_TRAIN
            sizes[number] = data.sizes[number] if whole and data.sizes else max(1, round(shares[number] * pool))
    drawn = sum(sizes[number] or 0 for number in (1, 2) if not have[number])
    if sizes[0] is None:
        whole_train = data.sizes[0] if data.sizes and not (have[1] or have[2]) else pool
        sizes[0] = min(whole_train, max(pool - drawn, 1))
    final = [size or 0 for size in sizes]
    if final[0] + drawn > pool:
        wanted = ", ".join(f"{PARTS[n]}={final[n]}" for n in (0, 1, 2) if n == 0 or not have[n])
        raise DataError(f"data {data.name!r}: {wanted} are more than the {pool} different images there; ask for fewer")
    return final


def _draw(y: Tensor, pools: list[Tensor], sizes: list[int], rng: Rng) -> list[Tensor]:
    """Return the indices of the three parts, each in random order."""
    from_train = [n for n in (0, 1, 2) if n == 0 or not len(pools[n])]
    drawn = dict(zip(from_train, stratified(y, pools[0], [sizes[n] for n in from_train], rng), strict=True))
    given = {n: stratified(y, pools[n], [sizes[n]], rng.split(PARTS[n]))[0] for n in (1, 2) if n not in drawn}
    return [(drawn | given)[n] for n in (0, 1, 2)]


def _check_complete(data: Dataset, part: str, indices: Tensor) -> None:
    if part == "val" and not len(indices):
        return
    counts = data.y[indices].bincount(minlength=len(data.classes)).tolist()
    if 0 in counts:
        name = data.classes[counts.index(0)]
        all_of_it = int((data.y == counts.index(0)).sum())
        raise DataError(
            f"data {data.name!r}: no image of class {name!r} ({all_of_it} in all) falls into the {part} part of "
            f"{len(indices)}; ask for a larger {part}= or leave the class out"
        )
