"""A model looked at, and left as it was: evaluation mode, no gradients, nothing changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .pooling import swift_pools

if TYPE_CHECKING:
    from .data.split import Split

EVALUATION_BATCH = 1000
CONVOLVED_BATCH = 200  # on a CPU: what a convolution makes of more is memory that the system hands out and takes back


@contextmanager
def untraced(model: nn.Module, *, frozen: bool = True) -> Iterator[nn.Module]:
    """Put `model` in evaluation mode with frozen parameters, and restore every trace afterwards.

    Restored: the mode of every submodule (frozen BatchNorm layers keep theirs), `requires_grad` of every parameter,
    buffers that a forward pass wrote on or replaced, and torch's global random state. `.grad` is never written.

    Args:
        model: any network.
        frozen: False leaves `requires_grad` alone, where no graph is made anyway.
    """
    modes = [(module, module.training) for module in model.modules()]
    homes = [(module._buffers, dict(module._buffers)) for module, _ in modes if module._buffers]
    buffers = [(one, _version(one), one.clone()) for _, before in homes for one in before.values() if one is not None]
    parameters = [one for module, _ in modes for one in module._parameters.values() if one is not None]
    trainable = [one for one in parameters if one.requires_grad] if frozen else []
    cuda = sorted({one.device.index for one in parameters if one.is_cuda})
    with torch.random.fork_rng(devices=cuda):
        try:
            if any(training for _, training in modes):
                model.eval()
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield model
        finally:
            for module, training in modes:
                if module.training is not training:
                    module.training = training
            for parameter in trainable:
                parameter.requires_grad_(True)
            for home, names in homes:
                home.update(names)
            for buffer, version, before in buffers:
                if version is None or _version(buffer) != version:
                    # What was made in inference mode can be written on only there.
                    with torch.inference_mode() if buffer.is_inference() else torch.no_grad():
                        buffer.copy_(before)


def _version(buffer: Tensor) -> int | None:
    """How often a tensor was written on; None where torch does not count."""
    return None if buffer.is_inference() else buffer._version


def logits(model: nn.Module, split: Split) -> Tensor:
    """Return the `(n, outputs)` outputs of `model` in evaluation mode over a whole split, in its order.

    Of an empty split nothing is known, not even the number of outputs: `(0, 1)`.
    """
    return logits_of(model, [split])[0]


def logits_of(model: nn.Module, splits: Iterable[Split]) -> list[Tensor]:
    """Return the `logits` of each of several splits."""
    device, found = device_of(model), []
    convolved = device.type == "cpu" and any(one.ndim > 2 for one in model.parameters())
    size = CONVOLVED_BATCH if convolved else EVALUATION_BATCH
    with untraced(model, frozen=False), swift_pools(model), torch.inference_mode():
        for split in splits:
            said = [model(x) for x, _ in split.batches(None, size, device)]
            found.append(said[0] if len(said) == 1 else torch.cat(said or [torch.empty(0, 1, device=device)]))
    return found


def scores(outputs: Tensor, y: Tensor, task: str) -> dict[str, Tensor]:
    """Return what is kept of every epoch: accuracy and nll, or in regression the mean squared error.

    Args:
        outputs: `(..., n, outputs)`; leading dimensions are those of the results.
        y: `(..., n)` int64 labels, or targets of the shape of the outputs.
        task: "classification" or "regression".
    """
    return {name: values.mean(-1) for name, values in judged(outputs, y, task).items()}


def judged(outputs: Tensor, y: Tensor, task: str) -> dict[str, Tensor]:
    """Return of each image, `(..., n)`, what `scores` are the means of."""
    if task == "regression":
        return {"error": (outputs - y).square().mean(-1)}
    # Neither log_softmax nor argmax: of rows as short as a few classes they take several times as long.
    top, own = outputs.amax(-1), outputs.gather(-1, y.unsqueeze(-1)).squeeze(-1)
    total = (outputs - top.unsqueeze(-1)).exp_().sum(-1)
    right = own == top
    tied = right & ~(total < 2)  # perhaps, or several are infinite: then the network says the first of the largest
    if tied.any():
        right[tied] = outputs[tied].argmax(-1) == y[tied]
    return {"accuracy": right.float(), "nll": total.log_().sub_(own.sub_(top))}


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer; the CPU for a model that has none."""
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device
