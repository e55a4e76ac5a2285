"""The processes that train a run, as the training loop sees them: a share of each batch, and sums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..hookspecs import Weights
from ..inference import logits_of
from ..noise import Key, fold
from .collective import Across, PeerLostError, add, from_first, reduce

if TYPE_CHECKING:
    from ..data.split import Split
    from ..session import Session

__all__ = ["ALONE", "PeerLostError", "World"]


@dataclass
class World:
    """The processes that train one run; by default this one alone, for which every method does next to nothing.

    Args:
        rank: the number of this process, from 0.
        size: how many there are.
        device: where this one computes.
        share: of the gradient of the present batch that is this process's.
    """

    rank: int = 0
    size: int = 1
    device: torch.device | str = "cpu"
    share: float = 1.0

    def batches(
        self, split: Split, order: Tensor, size: int, device: torch.device | str
    ) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Yield this process's `(x, y)` of each batch of `size` images, and how many of the images count as its.

        Where a batch has fewer images than there are processes, some of these learn from the same one, and share it.
        """
        if self.size == 1:
            for x, y in split.batches(order, size, device):
                yield x, y, len(x)
            return
        batches = order.split(size) if len(order) else ()
        parts = [_part(len(batch), self.rank, self.size) for batch in batches]
        mine = [batch[at] for batch, (at, _) in zip(batches, parts, strict=True)]
        shared = split.batches(torch.cat(mine), len(mine[0]), device) if mine else ()
        for (x, y), batch, (_, self.share) in zip(shared, batches, parts, strict=True):
            yield x, y, len(batch) * self.share

    def own(self, key: Key) -> Key:
        """Return the key of this process's noise."""
        return fold(key, self.rank) if self.rank else key

    def reduce(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the gradients of the whole batch in the place of those of this process's share of it."""
        if self.size > 1:
            reduce([one for one in parameters if one.requires_grad], self.share)

    def across(self, weights: Weights) -> Weights:
        """Return the same weights, through which the gradient of a loss is that of the whole batch, on all processes.

        For hooks that take it by `torch.func.grad`. It cannot be differentiated a second time.
        """
        if self.size == 1:
            return weights
        return dict(zip(weights, Across.apply(self.share, *weights.values()), strict=True))

    def total(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the sums over all processes of numbers under the same names."""
        if self.size == 1:
            return dict(values)
        numbers = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        add(numbers)
        return dict(zip(values, numbers.tolist(), strict=True))

    def outputs(self, network: nn.Module, splits: Iterable[Split]) -> list[Tensor]:
        """Return the outputs of the network on whole splits, as `inference.logits_of`: each process computes a part.

        Before, all take over the buffers of the first, so that they speak of the same network.
        """
        splits = list(splits)
        if self.size == 1:
            return logits_of(network, splits)
        for buffer in network.buffers():
            from_first(buffer)
        places = [torch.arange(self.rank, len(split), self.size) for split in splits]
        # One image at least, to learn how many outputs there are.
        parts = [split.subset(at if len(at) else torch.arange(len(split))[:1])
                 for split, at in zip(splits, places, strict=True)]  # fmt: skip
        found = []
        for split, at, some in zip(splits, places, logits_of(network, parts), strict=True):
            whole = torch.zeros(len(split), *some.shape[1:], dtype=some.dtype, device=some.device)
            whole[at.to(some.device)] = some[: len(at)]
            add(whole)
            found.append(whole)
        return found

    def agree(self, session: Session) -> None:
        """Stop where the first process stops, whatever a hook has answered here."""
        if self.size > 1:
            session.stopped = self.spread(bytes([session.stopped])) == b"\1"

    def spread(self, data: bytes) -> bytes:
        """Return the bytes that the first process gave."""
        if self.size == 1:
            return data
        length = torch.tensor([len(data)], device=self.device)
        from_first(length)
        content = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.rank == 0 and data:
            content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        if len(content):
            from_first(content)
        return content.cpu().numpy().tobytes()


ALONE = World()


def _part(count: int, rank: int, size: int) -> tuple[slice, float]:
    """What of a batch of `count` images a process learns from, one at least, and its share of the gradient."""
    if count >= size:
        mine = slice(rank, None, size)
        return mine, len(range(count)[mine]) / count
    at = rank % count
    return slice(at, at + 1), 1 / count / len(range(at, size, count))
