"""The ascent inside a training step that adversarial regularizers share, plugins too: all of it runs in `torch.vmap`.

A budget `eps` is a 0-d tensor, so that runs of a cohort can differ in it; norm and number of steps are plain values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..func import grad
from ..noise import Rng
from ..threat import ThreatModel

Score = Callable[[Tensor], Tensor]


def ascend(
    x: Tensor,
    score: Score,
    start: Tensor | None = None,
    *,
    eps: Tensor,
    steps: int,
    travel: float | Tensor = 2.5,
    norm: str = "linf",
) -> Tensor:
    """Return images within `eps` of `x` and inside [0, 1], after `steps` steps up the score: the last, not the best.

    Nothing flows back through them: learning takes the attack as given.

    Args:
        x: `(batch, *shape)` floats in [0, 1].
        score: from images of the shape of `x` to a scalar to maximize, as `lambda image: loss(image, y)`.
        start: images to start from, moved inside the budget first; `x` when None.
        eps: budget in pixel units, a 0-d tensor; at 0 the result is `x` to the last bit.
        steps: gradients to follow.
        travel: length of the way that the steps make together, in units of eps.
        norm: "linf" (each step along the sign of the gradient) or "l2" (along the gradient of each image).

    Madry et al, Towards deep learning models resistant to adversarial attacks, 2018.
    """
    eps, direction = eps.to(x.dtype), ThreatModel(norm, 1)
    with torch.no_grad():  # of the outer autograd: it would keep what is needed to look through the attack
        size = travel * eps / steps
        image = x if start is None else nearest(start, x, eps, norm)
        for _ in range(steps):
            image = nearest(direction.step(image, grad(score, image), size.to(x.dtype)), x, eps, norm)
    return image


def nearest(candidate: Tensor, x: Tensor, eps: Tensor, norm: str = "linf") -> Tensor:
    """Return the images near `candidate` that are within `eps` of `x`, but for rounding, and inside [0, 1]."""
    if norm == "l2":
        change = candidate - x
        lengths = torch.linalg.vector_norm(change.flatten(1), dim=1).reshape(-1, *[1] * (x.ndim - 1))
        candidate = x + change * (eps / lengths.clamp_min(torch.finfo(x.dtype).tiny)).clamp(max=1)
        return candidate.clamp(0, 1)
    return torch.clamp(candidate, (x - eps).clamp(min=0), (x + eps).clamp(max=1))


def anywhere(x: Tensor, rng: Rng, *, eps: Tensor, norm: str = "linf") -> Tensor:
    """Return images drawn uniformly within `eps` of `x`; what lies outside [0, 1] is moved to its edge."""
    if norm == "l2":
        direction = rng.normal(*x.shape).to(x.dtype)
        # The volume within a radius grows with its d-th power: this is uniform in the ball.
        radius = rng.uniform(len(x), *[1] * (x.ndim - 1)).to(x.dtype) ** (len(x) / x.numel())
        lengths = torch.linalg.vector_norm(direction.flatten(1), dim=1).reshape(radius.shape)
        noise = direction / lengths * radius
    else:
        noise = 2 * rng.uniform(*x.shape).to(x.dtype) - 1
    return nearest(x + eps.to(x.dtype) * noise, x, eps.to(x.dtype), norm)


def warmed(eps: Tensor, warmup: Tensor, progress: float) -> Tensor:
    """Return the budget at `progress` in [0, 1]: it grows evenly from 0 to `eps` over the first share `warmup`."""
    share = progress / warmup.clamp_min(torch.finfo(warmup.dtype).tiny)
    return eps * torch.where(progress >= warmup, 1.0, share).to(eps.dtype)
