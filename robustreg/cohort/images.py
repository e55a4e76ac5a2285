"""The images and labels of the runs of a stack, on the device."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..data.split import FLOATS, Split, pixels
from ..objective import Objective

AT_ONCE = 2**19  # values of images that are looked at in one forward pass of a stack: about what caches hold


class Rows:
    """Of each run some rows, `(n, ...)` each: kept one after the other, and once where runs share them."""

    def __init__(self, tensors: Sequence[Tensor], device: str) -> None:
        distinct = list({id(one): one for one in tensors}.values())
        place = {id(one): at for at, one in enumerate(distinct)}
        self.count = len(tensors[0])
        self.data = torch.cat([one.to(device) for one in distinct])
        self._start = self.count * torch.tensor([place[id(one)] for one in tensors], device=device)
        self._whole: Tensor | None = None

    def take(self, where: Tensor) -> Tensor:
        """Return `(runs, batch, ...)` of the positions `(runs, batch)`."""
        at = (where + self._start.unsqueeze(1)).flatten()
        return self.data.index_select(0, at).unflatten(0, where.shape)

    def whole(self) -> Tensor:
        """Return all, `(runs, n, ...)`."""
        if self._whole is None:
            runs, places = len(self._start), torch.arange(len(self._start), device=self.data.device)
            if not self._start.any():
                self._whole = self.data[: self.count].unsqueeze(0).expand(runs, *[-1] * self.data.ndim)
            elif torch.equal(self._start, places * self.count):
                self._whole = self.data[: runs * self.count].unflatten(0, (runs, self.count))
            else:
                self._whole = self.take(torch.arange(self.count, device=self.data.device).expand(runs, -1))
        return self._whole

    def keep(self, at: Tensor) -> None:
        """Let the runs go that are not at positions `at`."""
        self._start, self._whole = self._start[at], None


class Images:
    """The images and labels of all runs, `(n, ...)` each."""

    def __init__(self, splits: Sequence[Split], worker: Objective, device: str) -> None:
        self.x, self.y = (Rows([getattr(one, part) for one in splits], device) for part in ("x", "y"))
        self.count = self.x.count
        if self.x.data.numel() <= FLOATS:
            self.x.data = pixels(self.x.data)
        self.rows = copy.copy(self.y)
        if self.count:
            self.rows.data = worker.rows(pixels(self.x.data[:1]), self.y.data)

    def take(self, where: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images and the rows to learn at positions `(runs, batch)`."""
        return pixels(self.x.take(where)), self.rows.take(where)

    def of(self, run: int) -> Split:
        """Return the images and labels of one run."""
        y = self.y.whole()[run]
        return Split(self.x.whole()[run], y, (), torch.arange(len(y)))

    def in_batches(self) -> Iterator[Tensor]:
        """Yield all images, `(runs, some, ...)` at a time."""
        whole = self.x.whole()
        for some in whole.split(max(1, AT_ONCE // whole[:, :1].numel()), 1):
            yield pixels(some)

    def keep(self, at: Tensor) -> None:
        """Let the runs go that are not at positions `at`."""
        for rows in (self.x, self.y, self.rows):
            rows.keep(at)
