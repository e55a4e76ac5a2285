"""How many passes through a model an attack costs, counted from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from .siblings import Siblings


@dataclass
class Passes:
    """Passes through a model: how many samples went forward, and how many gradients came back."""

    forward: float = 0
    backward: float = 0

    def per_sample(self, samples: int) -> Passes:
        """Return the passes each of `samples` samples cost on average."""
        return Passes(self.forward / max(samples, 1), self.backward / max(samples, 1))


@contextmanager
def counting(model: nn.Module, passes: Passes) -> Iterator[None]:
    """Add the passes through `model` made inside the block to `passes`, one a sample."""

    def backward(gradient: Tensor) -> None:
        passes.backward += len(gradient)

    def forward(module: nn.Module, inputs: Any, logits: Any) -> None:
        if isinstance(logits, Tensor) and logits.ndim:
            passes.forward += len(logits)
            if logits.requires_grad:
                logits.register_hook(backward)

    handle = model.register_forward_hook(forward)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def tallied(siblings: Siblings, passes: Sequence[Passes]) -> Iterator[None]:
    """Add the passes through each of the siblings made inside the block to its own `passes`."""
    before, siblings.passes = siblings.passes, list(passes)
    try:
        yield
    finally:
        siblings.passes = before
