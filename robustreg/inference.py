"""A model looked at, and left as it was: evaluation mode, no gradients, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .data.split import Split

EVALUATION_BATCH = 1000


@contextmanager
def untraced(model: nn.Module) -> Iterator[nn.Module]:
    """Put `model` in evaluation mode with frozen parameters, and restore every trace afterwards.

    Restored: the mode of every submodule (frozen BatchNorm layers keep theirs), `requires_grad` of every parameter,
    buffers that a forward pass changed, and torch's global random state. `.grad` is never written.
    """
    modes = [(module, module.training) for module in model.modules()]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    buffers = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers()]
    cuda = sorted({tensor.device.index for tensor in model.parameters() if tensor.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda):
        try:
            model.eval()
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield model
        finally:
            for module, mode in modes:
                module.training = mode
            for parameter in trainable:
                parameter.requires_grad_(True)
            with torch.no_grad():
                for buffer, version, before in buffers:
                    if buffer._version != version:
                        buffer.copy_(before)


def logits(model: nn.Module, split: Split) -> Tensor:
    """Return the `(n, outputs)` outputs of `model` in evaluation mode over a whole split, in its order.

    Of an empty split nothing is known, not even the number of outputs: `(0, 1)`.
    """
    device = device_of(model)
    if not len(split):
        return torch.empty(0, 1, device=device)
    with untraced(model), torch.inference_mode():
        return torch.cat([model(x) for x, _ in split.batches(None, EVALUATION_BATCH, device)])


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer; the CPU for a model that has none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
