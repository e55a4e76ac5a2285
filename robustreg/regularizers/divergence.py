"""How far two predictions are apart."""

import torch
from torch import Tensor

WIDE = 1.0  # a gap of log-probabilities from which nothing cancels any more


def divergences(logits: Tensor, others: Tensor) -> Tensor:
    """Return KL(softmax(logits) || softmax(others)) of each row of `(batch, classes)` logits, `(batch,)`.

    Exact where both are close, and finite however far they are apart.
    """
    known, other = logits.log_softmax(-1), others.log_softmax(-1)
    gap = other - known
    # Both distributions add up to 1, so this is sum p * -gap, without its cancellation where they are close.
    near = gap.clamp(max=WIDE)
    small = known.exp() * (near.expm1() - near)
    large = other.exp() - known.exp() * (1 + gap)
    return torch.where(gap > WIDE, large, small).sum(-1)


def divergence(logits: Tensor, others: Tensor) -> Tensor:
    """Return the mean of `divergences` over the batch, a scalar."""
    return divergences(logits, others).mean()
