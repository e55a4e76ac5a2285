"""A data set as tensors, and the source a plugin offers it from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Protocol

import torch
from torch import Tensor

from ..errors import DataError


class Stream(Protocol):
    """Images that are read one at a time, because they do not fit in memory.

    `stream[i]` is one image as a uint8 tensor, or a float tensor in [0, 1], always of `shape` and always the same. A
    stream may also offer `digests()`, the same as `Dataset.digests`, when it has a faster way than one by one.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image, (C, H, W)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images.

    Args:
        name: what the user calls it.
        x: images (n, C, H, W), uint8 0..255 or float in [0, 1] (kept as float32); or a `Stream` of n such images.
        y: class numbers, int64 (n,).
        classes: the name of every class, in the order of the numbers.
        part: where the data brings its own parts: int8 (n,), 0 train, 1 validation, 2 test.
        sizes: default sizes (train, validation, test) for data without parts of its own.
        licence: licence of the data, as its owner names it.
        source: where it came from.
        notes: plain sentences a reader of the results should know.

    Raises:
        DataError: for shapes, types or values that do not fit together.
    """

    name: str
    x: Tensor | Stream
    y: Tensor
    classes: tuple[str, ...]
    part: Tensor | None = None
    sizes: tuple[int, int, int] | None = None
    licence: str = "not stated"
    source: str = "not stated"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        object.__setattr__(self, "notes", tuple(self.notes))
        if isinstance(self.x, Tensor):
            object.__setattr__(self, "x", _checked_pixels(self.name, self.x))
        _check_labels(self)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image, (C, H, W)."""
        return tuple(self.x.shape[1:]) if isinstance(self.x, Tensor) else tuple(self.x.shape)

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """The sha256 of every image's values: equal exactly for equal images. A stream is read once for it."""
        if isinstance(self.x, Tensor):
            rows = self.x.cpu().flatten(1).numpy()
            return tuple(sha256(row.data).digest() for row in rows)
        if hasattr(self.x, "digests"):
            return tuple(self.x.digests())
        return tuple(sha256(self.x[i].contiguous().numpy().data).digest() for i in range(len(self.x)))

    @cached_property
    def fingerprint(self) -> str:
        """The sha256, in hex, of images, labels, class names and parts. Streamed or in memory, it is the same."""
        first = self.x[0]
        kind = "uint8" if first.dtype == torch.uint8 else "float32"
        total = sha256(repr((kind, self.shape, self.classes)).encode())
        total.update(b"".join(self.digests))
        total.update(self.y.cpu().numpy().tobytes())
        if self.part is not None:
            total.update(self.part.cpu().numpy().tobytes())
        return total.hexdigest()


@dataclass(frozen=True)
class DataSource:
    """What a plugin offers through the `datasets()` hook: a data set that can be loaded by name.

    Args:
        name: what the user types.
        load: returns the `Dataset`. Its parameters, with types str, int, float or bool and with their defaults, are
            the options a user can type; a bare first value is the first of them. A parameter `say`, a callable that
            shows the user one message, is passed when there is someone to show it to.
        about: one sentence.
        shape: (C, H, W), or None when it depends on the options.
        classes: the class names, or their number, or None when it depends on the options.
        images: how many, or None when it depends on the options.
        size: bytes to download, 0 for none.
        licence: licence of the data, as its owner names it.
        source: where it comes from.
        cached: whether it can be loaded without a download.
        get: downloads it (it may take `say` too), or None where there is nothing to download.
    """

    name: str
    load: Callable[..., Dataset]
    about: str
    shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] | int | None = None
    images: int | None = None
    size: int = 0
    licence: str = "not stated"
    source: str = "not stated"
    cached: Callable[[], bool] = lambda: True
    get: Callable[..., None] | None = None


def _checked_pixels(name: str, x: Tensor) -> Tensor:
    if x.ndim < 2 or len(x) == 0:
        raise DataError(f"data {name!r}: images must be a tensor (n, C, H, W) with n > 0, got shape {tuple(x.shape)}")
    x = x.detach().contiguous()
    if x.dtype == torch.uint8:
        return x
    if not x.is_floating_point():
        raise DataError(f"data {name!r}: images must be uint8 (0..255) or float in [0, 1], got {x.dtype}")
    low, high = float(x.min()), float(x.max())
    if low != low:
        at = x.isnan().reshape(len(x), -1).any(1).nonzero().squeeze(1)
        raise DataError(
            f"data {name!r}: {len(at)} of {len(x)} images hold NaN, the first is image {int(at[0])}; leave them out"
        )
    if low < 0 or high > 1:
        raise DataError(
            f"data {name!r}: float images must lie in [0, 1], got values from {low:g} to {high:g}; "
            "scale them, and leave normalization to the model"
        )
    return x.to(torch.float32)


def _check_labels(data: Dataset) -> None:
    name, y, count = data.name, data.y, len(data.x)
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.ndim != 1:
        got = f"{y.dtype} of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise DataError(f"data {name!r}: labels must be an int64 tensor (n,), got {got}")
    if len(y) != count:
        raise DataError(f"data {name!r}: {count} images but {len(y)} labels")
    if len(data.classes) < 2:
        raise DataError(f"data {name!r}: at least 2 classes are needed, got {len(data.classes)}")
    if len(set(data.classes)) != len(data.classes):
        raise DataError(f"data {name!r}: class names must differ, got {', '.join(data.classes)}")
    if int(y.min()) < 0 or int(y.max()) >= len(data.classes):
        raise DataError(
            f"data {name!r}: labels must be 0 to {len(data.classes) - 1}, got {int(y.min())} to {int(y.max())}"
        )
    part = data.part
    if part is None:
        return
    if part.dtype != torch.int8 or part.shape != y.shape or bool(((part < 0) | (part > 2)).any()):
        raise DataError(f"data {name!r}: part must be int8 (n,) of 0 (train), 1 (validation) and 2 (test)")
