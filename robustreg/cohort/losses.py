"""The base losses of the runs of a stack, outside `vmap`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def base_losses(outputs: Tensor, y: Tensor, task: str) -> Tensor:
    """Return the mean loss of each run, `(runs,)`: what `Objective.base_loss` returns of it.

    Args:
        outputs: `(runs, batch, outputs)`.
        y: rows that are distributions, or targets, of the same shape.
        task: "classification" or "regression".
    """
    if task == "regression":
        return (outputs - y).square().flatten(1).mean(1)
    if y.requires_grad:  # a regularizer learns through them
        return -(y * outputs.log_softmax(-1)).sum(-1).mean(-1)
    return _CrossEntropy.apply(outputs, y)


class _CrossEntropy(torch.autograd.Function):
    """Cross-entropy with its derivative, softmax less rows, in closed form.

    Of rows as short as a few classes, and few of them, torch's graph of it takes a tenth of a step.
    """

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, y: Tensor) -> Tensor:
        top = outputs.amax(-1, keepdim=True)
        share = (outputs - top).exp_()
        total = share.sum(-1, keepdim=True)
        losses = total.log().add_(top).squeeze(-1) - (y * outputs).sum(-1)
        ctx.save_for_backward(share.div_(total).sub_(y).div_(outputs.shape[1]))
        return losses.mean(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        (derivative,) = ctx.saved_tensors
        return derivative * slope.unsqueeze(-1).unsqueeze(-1), None
