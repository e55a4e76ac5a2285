"""Stochastic gradient descent as torch has it, without what torch does around every step."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.sgd import sgd


class SGD(torch.optim.SGD):
    """`torch.optim.SGD`, with the same numbers, state and settings.

    Its step calls torch's own function of the update. Around that torch's step marks itself for the profiler and tells
    the compiler to leave it alone: a third of the time of a small network's update, and over a second in each process,
    in which the compiler is imported for it.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            learned = [one for one in group["params"] if one.grad is not None]
            momenta = [self.state[one].get("momentum_buffer") for one in learned] if group["momentum"] else []
            same: dict[str, Any] = {key: group[key] for key in SETTINGS}
            sgd(learned, [one.grad for one in learned], momenta, has_sparse_grad=False, **same)
            for one, momentum in zip(learned, momenta, strict=False):  # there is none, or one for each
                self.state[one]["momentum_buffer"] = momentum

    step.hooked = True  # type: ignore[attr-defined]  # or torch would put its marks around this one


SETTINGS = ("foreach", "fused", "weight_decay", "momentum", "lr", "dampening", "nesterov", "maximize")
