"""The threat model: what an attacker may do to an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import UsageError
from .noise import Rng, fold

NORMS = ("linf", "l2")
Bounds = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class ThreatModel:
    """All images within `eps` of an image and inside the box: what an attack may return.

    Works for any `(batch, *shape)` of float32 or float64; nothing couples the samples of a batch.

    Args:
        norm: "linf" (every pixel moves by at most eps) or "l2" (the Euclidean length of the change is at most eps).
        eps: budget in pixel units, where black is 0 and white is 1; for linf in [0, 1].
        low: lower end of the box.
        high: upper end of the box.

    Raises:
        UsageError: for an unknown norm, or an eps that cannot be meant.
    """

    norm: str
    eps: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", float(self.eps))
        if self.norm not in NORMS:
            raise UsageError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")
        if not 0 <= self.eps < math.inf:
            raise UsageError(f"eps must be a finite number that is at least 0, got {self.eps}")
        if self.norm == "linf" and self.eps > self.high - self.low:
            width = self.high - self.low
            raise UsageError(f"eps is in pixel units, at most {width:g}, got {self.eps:g}; 8 grey levels are 8/255")

    def check(self, x: Tensor) -> None:
        """Raise a UsageError unless `x` is floating point and inside the box."""
        if not x.is_floating_point():
            raise UsageError(f"images must be floats in [{self.low:g}, {self.high:g}], got {x.dtype}; divide by 255")
        if x.numel():
            smallest, largest = (float(value) for value in x.aminmax())
            if not (self.low <= smallest and largest <= self.high):
                raise UsageError(
                    f"images must lie in [{self.low:g}, {self.high:g}], got values from {smallest:g} to {largest:g}; "
                    "these look normalised; put the normalisation inside the model as robustreg.layers.Normalize"
                )

    def bounds(self, x: Tensor) -> Bounds:
        """Return the lowest and highest images, `(batch, *shape)`: in linf the whole threat model, in l2 the box."""
        if self.norm == "linf":
            return (x - self.eps).clamp_(min=self.low), (x + self.eps).clamp_(max=self.high)
        return torch.full_like(x, self.low), torch.full_like(x, self.high)

    def project(self, candidate: Tensor, x: Tensor, bounds: Bounds | None = None) -> Tensor:
        """Return the allowed image of `x` near `candidate`: exactly inside the box, and inside the budget.

        Args:
            candidate: any images, of the shape of `x`.
            x: the clean images.
            bounds: `self.bounds(x)`, when an attack that makes many steps has computed it already.
        """
        if self.norm == "l2":
            change = candidate - x
            radius = self._radius(x)
            candidate = x + change * (radius / _lengths(change).clamp_min(torch.finfo(x.dtype).tiny)).clamp(max=1)
            return candidate.clamp_(self.low, self.high)  # moves every pixel towards x, so the budget still holds
        lower, upper = self.bounds(x) if bounds is None else bounds
        return torch.clamp(candidate, lower, upper)

    def step(self, candidate: Tensor, gradient: Tensor, size: float | Tensor) -> Tensor:
        """Return `candidate` moved by `size`, a number or `(batch, 1, ...)`, in the norm's steepest direction."""
        return moved(candidate, self.steepest(gradient), size)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the direction of length 1 in the norm in which a loss with this gradient rises fastest.

        In linf that is the sign of the gradient, in l2 the gradient of length 1 in every sample. A gradient that is
        zero or not finite has none: it is 0.
        """
        if self.norm == "linf":
            return gradient.sign()
        # Divided by the largest entry first: the squares of small gradients underflow.
        largest = gradient.abs().reshape(len(gradient), -1).amax(1).reshape(-1, *[1] * (gradient.ndim - 1))
        unit = gradient / largest
        return (unit / _lengths(unit)).nan_to_num(0.0, 0.0, 0.0)

    def start(self, x: Tensor, rng: Rng, samples: Tensor) -> Tensor:
        """Return a random allowed image for each of `x`, the same for a sample in whatever batch it comes.

        Args:
            x: the clean images, `(batch, *shape)`.
            rng: decides, together with the sample's number, every start.
            samples: the number of each sample, int64 `(batch,)`.
        """
        if not len(x):
            return x.clone()
        shape = x.shape[1:]

        def noise(key: Tensor) -> Tensor:
            draw = Rng(key, x.device)
            if self.norm == "linf":
                return 2 * draw.uniform(*shape) - 1
            direction = draw.normal(*shape)
            # The volume within a radius grows with its d-th power: this is uniform in the ball.
            return direction / direction.norm() * draw.uniform() ** (1 / math.prod(shape))

        keys = torch.as_tensor(fold(rng.key, samples.to(x.device)))
        return self.project(torch.add(x, torch.func.vmap(noise)(keys).to(x.dtype), alpha=self.eps), x)

    def contains(self, candidate: Tensor, x: Tensor) -> Tensor:
        """Return for each sample whether `candidate` is allowed: `(batch,)` booleans.

        In linf without tolerance against `bounds`; in l2 the box exactly and the length within eps * (1 + 1e-6),
        measured in float64.
        """
        lower, upper = self.bounds(x)
        inside = ((candidate >= lower) & (candidate <= upper)).reshape(len(x), -1).all(1)
        if self.norm == "l2":
            length = _lengths(candidate.double() - x.double()).reshape(-1)
            inside = inside & (length <= self.eps * (1 + 1e-6))
        return inside

    def _radius(self, x: Tensor) -> float:
        """The l2 budget less what rounding `x + change` to the type of `x` can add to the length."""
        unit = torch.finfo(x.dtype).eps
        rounding = unit / 4 * max(abs(self.low), abs(self.high)) * math.sqrt(math.prod(x.shape[1:]))
        return max(0.0, self.eps * (1 - 4 * unit) - rounding)


def moved(candidate: Tensor, direction: Tensor, size: float | Tensor) -> Tensor:
    """Return `candidate` moved by `size`, a number or `(batch, 1, ...)`, in a direction."""
    if isinstance(size, Tensor):
        return torch.addcmul(candidate, direction, size)
    return torch.add(candidate, direction, alpha=size)


def _lengths(change: Tensor) -> Tensor:
    """The Euclidean length of each sample, `(batch, 1, ...)`."""
    return torch.linalg.vector_norm(change.reshape(len(change), -1), dim=1).reshape(-1, *[1] * (change.ndim - 1))
