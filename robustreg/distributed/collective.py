"""Sums over processes, of gradients above all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import RobustregError


class PeerLostError(RobustregError):
    """Another process of the training has ended, or cannot be reached."""


@contextmanager
def together() -> Iterator[None]:
    """Do something that all processes take part in; a PeerLostError where one does not."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError(f"another process of the training has ended: {error}") from error


def add(tensor: Tensor) -> None:
    """Put the sum over all processes in the place of a tensor."""
    with together():
        dist.all_reduce(tensor)


def from_first(tensor: Tensor) -> None:
    """Put the tensor of the first process in the place of a tensor."""
    with together():
        dist.broadcast(tensor, 0)


def reduce(parameters: Sequence[nn.Parameter], share: float) -> None:
    """Put the sum over all processes of gradients, each times the share of its process, in the place of these.

    A gradient that no process has stays none, since optimizers leave such a parameter alone.
    """
    given = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    found, had = weighted(given, share, [one.grad is not None for one in parameters])
    for one, gradient, anywhere in zip(parameters, found, had, strict=True):
        if one.grad is not None or bool(anywhere):
            one.grad = gradient


def weighted(
    tensors: Sequence[Tensor], share: float, there: Sequence[bool] | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the sums over all processes of tensors times the share of each, and how many processes had each.

    One sum for all of a kind: gradients of small tensors cost what a message costs, not what they weigh.
    """
    there = [True] * len(tensors) if there is None else there
    found, had = list(tensors), list(tensors)
    for kind in dict.fromkeys(one.dtype for one in tensors):
        at = [place for place, one in enumerate(tensors) if one.dtype == kind]
        flags = tensors[at[0]].new_tensor([float(there[place]) for place in at])
        flat = torch.cat([*(tensors[place].reshape(-1) for place in at), flags])
        flat[: -len(at)].mul_(share)
        add(flat)
        *pieces, flags = flat.split([*(tensors[place].numel() for place in at), len(at)])
        for place, piece, flag in zip(at, pieces, flags.unbind(), strict=True):
            found[place], had[place] = piece.view(tensors[place].shape), flag
    return found, had


class Across(torch.autograd.Function):
    """The identity, whose gradient is that of the whole batch on all processes, by `torch.func.grad`, too."""

    @staticmethod
    def forward(share: float, *weights: Tensor) -> tuple[Tensor, ...]:
        """Return the weights."""
        return tuple(one.view_as(one) for one in weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the share."""
        ctx.share = inputs[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        """Sum the gradients."""
        return None, *weighted([_plain(one) for one in gradients], ctx.share)[0]


def _plain(tensor: Tensor) -> Tensor:
    """A tensor as it is under the wrappers of `torch.func`, which no collective can look through."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor
