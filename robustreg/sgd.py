"""Stochastic gradient descent as torch has it, without what torch does around every step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.sgd import sgd

UPDATE = ("weight_decay", "momentum", "lr", "dampening", "nesterov", "maximize")  # what a kernel must be told
KERNEL = getattr(torch, "_fused_sgd_", None)  # where torch has none of this name, its own way there is taken


class SGD(torch.optim.SGD):
    """`torch.optim.SGD`, with the same numbers, state and settings.

    Its step calls torch's own function of the update, or the kernel at the end of it. Around that torch's step marks
    itself for the profiler, tells the compiler to leave it alone and sorts the tensors: three quarters of the time of a
    small network's update, and over a second in each process, in which the compiler is imported for it.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            learned = [one for one in group["params"] if one.grad is not None]
            gradients = [one.grad for one in learned]
            momenta = [self.state[one].get("momentum_buffer") for one in learned] if group["momentum"] else []
            told = {key: group[key] for key in UPDATE}
            if group["fused"] and KERNEL is not None and _of_one_kind(learned, momenta):
                KERNEL(learned, gradients, momenta, is_first_step=False, **told)
                continue
            how = {"foreach": group["foreach"], "fused": group["fused"]}
            sgd(learned, gradients, momenta, has_sparse_grad=False, **how, **told)
            for one, momentum in zip(learned, momenta, strict=False):  # there is none, or one for each
                self.state[one]["momentum_buffer"] = momentum

    step.hooked = True  # type: ignore[attr-defined]  # or torch would put its marks around this one


def _of_one_kind(learned: Sequence[Tensor], momenta: Sequence[Tensor | None]) -> bool:
    """Whether one kernel can update all of these, none of them for the first time."""
    kinds = {(one.dtype, one.device) for one in learned}
    return len(kinds) == 1 and all(momentum is not None for momentum in momenta)
