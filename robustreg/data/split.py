"""A split of a data set: what training, validation and test see of it, in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import UsageError
from .dataset import Stream

FLOATS = 2**27  # values of images up to which they are worth keeping as floats: half a gigabyte
AT_ONCE = 2**20  # values of images that are picked from a split at once


def pixels(x: Tensor) -> Tensor:
    """Return images as floats in [0, 1]: uint8 divided by 255, floats unchanged."""
    return x.to(torch.float32) / 255 if x.dtype == torch.uint8 else x


class Picked:
    """The images of a stream at some positions, as a stream."""

    def __init__(self, stream: Stream, positions: Tensor) -> None:
        self.stream, self.positions = stream, positions.tolist()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return tuple(self.stream.shape)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Tensor:
        return self.stream[self.positions[index]]


def pick(x: Tensor | Stream, positions: Tensor) -> Tensor | Stream:
    """Return the images of `x` at int64 `positions`: a tensor of a tensor, a stream of a stream."""
    return x[positions.to(x.device)] if isinstance(x, Tensor) else Picked(x, positions)


@dataclass(frozen=True, eq=False)
class Split:
    """Some images of a data set with their labels, in random order, so that the first m are a fair sample.

    Args:
        x: images (n, C, H, W), uint8 or float32 in [0, 1]; or a `Stream` of n such images.
        y: class numbers, int64 (n,).
        classes: the name of every class.
        indices: where these images are in the data set, int64 (n,).
    """

    x: Tensor | Stream
    y: Tensor
    classes: tuple[str, ...]
    indices: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Split({len(self)} images of shape {self.shape}, {len(self.classes)} classes)"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image, (C, H, W)."""
        return tuple(self.x.shape[1:]) if isinstance(self.x, Tensor) else tuple(self.x.shape)

    @property
    def streamed(self) -> bool:
        """Whether `x` is read image by image instead of being a tensor."""
        return not isinstance(self.x, Tensor)

    def batches(
        self, order: Tensor | None = None, size: int = 256, device: torch.device | str | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `(x, y)` batches: float32 (size, C, H, W) in [0, 1] and int64 (size,); the last may be smaller.

        In memory or streamed, the batches are the same. Global random state is not touched.

        Args:
            order: int64 positions in this split, in the order wanted; None for each once, as they lie.
            size: images a batch.
            device: where the batches are wanted; None for where the labels are.

        Raises:
            UsageError: for a size below 1.
        """
        if size < 1:
            raise UsageError(f"batch size must be at least 1, got {size}")
        device = self.y.device if device is None else device
        source = self._in_memory if isinstance(self.x, Tensor) else self._from_stream
        for many_x, many_y in source(order, size):
            parts = pixels(many_x.to(device)).split(size), many_y.to(device).split(size)
            yield from zip(*parts, strict=True)

    def _in_memory(self, order: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Several batches at once: small ones cost more to pick and convert one by one than to train on."""
        assert isinstance(self.x, Tensor)
        if order is not None:
            order = order.to(self.y.device)
        many = size * max(1, AT_ONCE // (size * max(1, math.prod(self.shape))))
        for start in range(0, len(self) if order is None else len(order), many):
            where = slice(start, start + many) if order is None else order[start : start + many]
            yield self.x[where], self.y[where]

    def _from_stream(self, order: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        from torch.utils.data import DataLoader

        order = torch.arange(len(self)) if order is None else order.cpu()
        loader: DataLoader[Tensor] = DataLoader(
            self.x,  # type: ignore[arg-type]  # a map-style data set by its methods, not by inheritance
            batch_size=size,
            sampler=order.tolist(),
            generator=torch.Generator(),  # the default draws a seed from global random state
        )
        labels = self.y[order.to(self.y.device)]
        for start, x in zip(range(0, len(order), size), loader, strict=True):
            yield x, labels[start : start + size]

    def to(self, device: torch.device | str) -> Split:
        """Return the split with what is in memory on `device`."""
        x = self.x.to(device) if isinstance(self.x, Tensor) else self.x
        return replace(self, x=x, y=self.y.to(device), indices=self.indices.to(device))

    def ready(self, device: torch.device | str) -> Split:
        """Return the split as it is fastest for many epochs: on `device`, and small images as floats once for all."""
        here = self.to(device)
        if not isinstance(here.x, Tensor) or here.x.numel() > FLOATS:
            return here
        return replace(here, x=pixels(here.x))

    def with_labels(self, y: Tensor) -> Split:
        """Return the split with other labels, int64 (n,); a UsageError if they do not fit."""
        if y.dtype != torch.int64 or y.shape != self.y.shape:
            raise UsageError(f"labels must be int64 of shape {tuple(self.y.shape)}, got {y.dtype} {tuple(y.shape)}")
        return replace(self, y=y.to(self.y.device))

    def subset(self, indices: Tensor) -> Split:
        """Return the part of the split at int64 positions `indices` (positions in this split)."""
        here = indices.to(self.y.device)
        return replace(self, x=pick(self.x, indices), y=self.y[here], indices=self.indices[here])


@dataclass(frozen=True, eq=False)
class Splits:
    """Training, validation and test split of one data set, with no image in two of them.

    Args:
        train: what is learned from.
        val: what early stopping and tuning see.
        test: what is reported, once.
        name: name of the data set.
        classes: the name of every class.
        shape: the shape of one image, (C, H, W).
        hash: sha256, in hex, of the data and of which image is where: runs compare only when it is equal.
        seed: what the splits were drawn with.
        notes: plain sentences a reader of the results should know.
    """

    train: Split
    val: Split
    test: Split
    name: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    hash: str
    seed: int
    notes: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> Splits:
        """Return the splits with what is in memory on `device`."""
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device))
