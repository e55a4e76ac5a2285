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

_TINY = 1e-12  # equal logits are no division by zero


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


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Return the margin over the distance of the largest from the third largest logit.

    Neither a shift nor a scale of the logits changes it. Needs 3 classes.

    Raises:
        UsageError: for fewer than 3 classes.

    Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    2020.
    """
    top = _largest(logits, 3, "dlr")
    return margin(logits, y) / (top[:, 0] - top[:, 2] + _TINY)


def dlr_targeted(logits: Tensor, pairs: Tensor) -> Tensor:
    """Return z_t - z_y over the distance of the largest logit from the mean of the third and fourth.

    Args:
        logits: `(batch, classes)`, 4 or more classes.
        pairs: int64 `(batch, 2)`, the label y and the wrong class t to be taken for.

    Raises:
        UsageError: for fewer than 4 classes.

    Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    2020.
    """
    top = _largest(logits, 4, "the targeted dlr")
    return margin_targeted(logits, pairs) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + _TINY)


def margin_targeted(logits: Tensor, pairs: Tensor) -> Tensor:
    """Return z_t - z_y for `(batch, 2)` pairs of the label y and the wrong class t; for any number of classes."""
    both = logits.gather(-1, pairs)
    return both[:, 1] - both[:, 0]


def likeliest_wrong(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """Return the classes other than the label, `(batch, min(count, classes - 1))` int64, the most likely first."""
    return _others(logits, y).topk(min(count, logits.shape[-1] - 1), -1).indices


LOSSES: dict[str, AttackLoss] = {
    "scale_free": scale_free,
    "margin": margin,
    "cross_entropy": cross_entropy,
    "dlr": dlr,
}


def _scale_free_slope(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    # By hand: of rows as short as a few classes torch's softmax and logsumexp take several times as long.
    others, label = _others(logits, y), y.unsqueeze(-1)
    largest = others.amax(-1, keepdim=True)
    slope = others.sub_(largest).exp_()
    total = slope.sum(-1, keepdim=True)
    losses = (total.log().add_(largest) - logits.gather(-1, label)).squeeze(-1)
    return losses, slope.div_(total).scatter_(-1, label, -1.0)


def _margin_slope(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    others, label = _others(logits, y), y.unsqueeze(-1)
    largest = others.amax(-1, keepdim=True)
    losses = (largest - logits.gather(-1, label)).squeeze(-1)
    first = (others == largest).to(logits.dtype)
    return losses, first.div_(first.sum(-1, keepdim=True)).scatter_(-1, label, -1.0)  # equal ones share, as in amax


# Of the losses that most steps are made with: losses `(batch,)` and their derivative by the logits, in closed form.
Slope = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
SLOPES: dict[AttackLoss, Slope] = {scale_free: _scale_free_slope, margin: _margin_slope}


def slope_of(loss: AttackLoss) -> Slope | None:
    """Return the entry of a loss in `SLOPES`, or None; of any function, also one that cannot be a key."""
    return next((slope for known, slope in SLOPES.items() if known is loss), None)


def sloped(loss: AttackLoss, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses `(batch,)` and the derivative of each by its own logits: in closed form where there is one."""
    known = slope_of(loss)
    if known is not None:
        return known(logits, y)
    with torch.enable_grad():
        logits = logits.detach().requires_grad_()
        losses = loss(logits, y)
        if not losses.requires_grad:
            return losses, torch.zeros_like(logits)
        (slope,) = torch.autograd.grad(losses.sum(), logits, materialize_grads=True)
    return losses.detach(), slope.clone()  # whoever asks may write on it, and a loss may have given what it keeps


def find_loss(loss: str | AttackLoss) -> AttackLoss:
    """Return the loss of a name; a function is passed through. A UsageError for an unknown name."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise UsageError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}.{suggest(str(loss), LOSSES)}")
    return LOSSES[loss]


def _largest(logits: Tensor, count: int, name: str) -> Tensor:
    if logits.shape[-1] < count:
        raise UsageError(
            f"{name} loss needs {count} or more classes, and the model has {logits.shape[-1]}; use loss 'margin'"
        )
    return logits.topk(count, -1).values


def _others(logits: Tensor, y: Tensor) -> Tensor:
    return logits.scatter(-1, y.unsqueeze(-1), -torch.inf)


def _true(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(-1, y.unsqueeze(-1)).squeeze(-1)
