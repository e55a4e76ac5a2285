"""The two questions an attack asks a model: what does it say, and which way makes it worse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .losses import AttackLoss, slope_of, sloped
from .siblings import ladder_of


def outputs(model: nn.Module, x: Tensor, y: Tensor | None = None) -> Tensor:
    """Return the `(batch, classes)` logits of `x`, without a graph; a UsageError if labels `y` do not fit them."""
    with torch.no_grad():
        return _checked(model(x), y)


def input_gradient(model: nn.Module, x: Tensor, y: Tensor, loss: AttackLoss) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits `(batch, classes)`, losses `(batch,)` and the gradient of each loss by its own sample of `x`.

    A model whose output does not depend on `x` differentiably has a gradient of zero. The gradient is the caller's.
    """
    return _asked(model, x, y, loss, y)


def climbing_gradient(model: nn.Module, x: Tensor, y: Tensor, loss: AttackLoss) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `input_gradient` returns, of labels that are known to fit the model: the question of every step."""
    return _asked(model, x, y, loss, None)


def _asked(
    model: nn.Module, x: Tensor, y: Tensor, loss: AttackLoss, check: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    if (ladder := ladder_of(model)) is not None:
        with torch.no_grad():
            logits, back = ladder.climb(x)
            losses, slope = sloped(loss, _checked(logits, check), y)
            return logits, losses, back(slope)
    known = slope_of(loss)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = _checked(model(x), check)
        losses = loss(logits, y) if known is None else logits
    gradient = None
    if losses.requires_grad:
        if known is None:
            (gradient,) = torch.autograd.grad(losses.sum(), x, allow_unused=True)
        else:  # no graph of the loss: half the time of a step on a small network
            losses, slope = known(logits.detach(), y)
            (gradient,) = torch.autograd.grad(logits, x, slope, allow_unused=True)
    elif known is not None:
        losses = loss(logits, y)
    return logits.detach(), losses.detach(), torch.zeros_like(x) if gradient is None else gradient


def _checked(logits: Tensor, y: Tensor | None) -> Tensor:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(
            f"an attack needs a model that returns logits (batch, classes) of 2 or more classes, got {got}"
        )
    if y is not None and len(y):
        smallest, largest = (int(label) for label in y.aminmax())
        if smallest < 0 or largest >= logits.shape[1]:
            raise UsageError(
                f"labels from {smallest} to {largest} do not fit a model of {logits.shape[1]} classes: "
                f"they must be from 0 to {logits.shape[1] - 1}"
            )
    return logits
