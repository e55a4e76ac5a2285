"""What an attack maximizes: losses of logits `(batch, classes)` and labels `(batch,)`, one value a sample.

Each is positive exactly where (for `margin`), or at least wherever (for `scale_free`), the label has lost.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UsageError, suggest

AttackLoss = Callable[[Tensor, Tensor], Tensor]


def scale_free(logits: Tensor, y: Tensor) -> Tensor:
    """Return logsumexp over k != y of z_k, minus z_y.

    Cross-entropy is softplus of it, so the sign of the gradient is the same; but cross-entropy's gradient carries a
    factor 1 - p_y, which float32 rounds to nothing on a confident model, and this one does not.
    Carlini and Wagner, Towards evaluating the robustness of neural networks, 2017 (losses compared).
    """
    return _others(logits, y).logsumexp(-1) - _true(logits, y)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return the largest z_k with k != y, minus z_y: positive when the label has lost.

    Carlini and Wagner, Towards evaluating the robustness of neural networks, 2017.
    """
    return _others(logits, y).amax(-1) - _true(logits, y)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return -log p_y, for comparison with what other libraries do; it saturates on confident models."""
    return F.cross_entropy(logits, y, reduction="none")


LOSSES: dict[str, AttackLoss] = {"scale_free": scale_free, "margin": margin, "cross_entropy": cross_entropy}


def find_loss(loss: str | AttackLoss) -> AttackLoss:
    """Return the loss of a name; a function is passed through. A UsageError for an unknown name."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise UsageError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}.{suggest(str(loss), LOSSES)}")
    return LOSSES[loss]


def _others(logits: Tensor, y: Tensor) -> Tensor:
    return logits.scatter(-1, y.unsqueeze(-1), -torch.inf)


def _true(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(-1, y.unsqueeze(-1)).squeeze(-1)
