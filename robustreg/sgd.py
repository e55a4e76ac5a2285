"""Stochastic gradient descent as torch has it, without what torch does around every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

UPDATE = ("weight_decay", "momentum", "lr", "dampening", "nesterov", "maximize")  # what a kernel must be told
# What an optimizer has where its steps are watched, or where torch.amp.GradScaler has scaled its gradients.
WATCHED = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks", "grad_scale", "found_inf")
KERNEL = getattr(torch, "_fused_sgd_", None)  # where torch has none of this name, its own way there is taken


class SGD(torch.optim.SGD):
    """`torch.optim.SGD`, with the same numbers, state and settings.

    Its step calls torch's own function of the update, or the kernel at the end of it. Around that torch's step marks
    itself for the profiler, tells the compiler to leave it alone and sorts the tensors: three quarters of the time of a
    small network's update, and over a second in each process, in which the compiler is imported for it. A step that
    somebody watches, scales the gradients of or gives a closure is torch's own.
    """

    def step(self, closure: Any = None) -> Any:
        """Update all parameters that have a gradient; return what `closure` does, if there is one."""
        if closure is not None or any(map(self.__dict__.get, WATCHED)):
            whole = torch.optim.SGD.step
            watched = whole if hasattr(whole, "hooked") else torch.optim.Optimizer.profile_hook_step(whole)
            return watched(self, closure)
        return self._update()

    @torch.no_grad()
    def _update(self) -> None:
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
