"""Whether a network fits the data that it is to be trained or measured on: asked first, and told in a user's words."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .errors import UsageError
from .inference import device_of, untraced

if TYPE_CHECKING:
    from .data.split import Split

ASKED = 2  # images: as few as show which dimension is the batch, and as BatchNorm learns from


def check_fits(model: nn.Module, shape: tuple[int, ...], classes: int, name: str) -> None:
    """Raise a UsageError unless `model`, left as it was, maps images of this shape to one logit a class."""
    with untraced(model):
        found = _answer(model, torch.zeros(ASKED, *shape, device=device_of(model)), name)
    if not isinstance(found, Tensor) or found.shape != (ASKED, classes):
        raise _unfit(name, f"logits {_batch(classes)}", found)


def check_learns(model: nn.Module, parts: Iterable[Split], task: str) -> None:
    """Raise a UsageError unless `model` can learn these parts of a data set, the one to train on first.

    A copy of it is asked, while training and in evaluation mode: whatever a forward pass changes in a model, this one
    starts its training as it came. It may have more outputs than there are classes.
    """
    first, *_ = parts = list(parts)
    name = type(model).__name__
    try:
        asked = copy.deepcopy(model)
    except Exception as error:
        raise UsageError(f"model {name} cannot be copied: {type(error).__name__}: {error}") from error
    if task == "regression":
        least, wanted = tuple(first.y.shape[1:]), f"outputs {_batch(*first.y.shape[1:])}, the shape of the targets,"
    else:
        least = (max(_classes(one.y) for one in parts),)
        wanted = f"logits {_batch(max(*least, len(first.classes)))}"
    kind = first.x.dtype if isinstance(first.x, Tensor) and first.x.is_floating_point() else torch.float32
    images = torch.zeros(ASKED, *first.shape, dtype=kind, device=device_of(model))
    with torch.random.fork_rng(devices=[images.device.index] if images.is_cuda else []):
        for training in (True, False):
            found = _answer(asked.train(training), images, name)
            size = tuple(found.shape) if isinstance(found, Tensor) else ()
            more = task != "regression" and len(size) == 2 and size[1:] >= least
            if size[:1] != (ASKED,) or not (more or size[1:] == least):
                raise _unfit(name, wanted, found)


def _answer(model: nn.Module, images: Tensor, name: str) -> object:
    try:
        with torch.no_grad():
            return model(images)
    except Exception as error:
        what = f"images of shape {tuple(images.shape[1:])}"
        if images.dtype != torch.float32 or any(one.dtype != images.dtype for one in model.parameters()):
            what = f"{str(images.dtype).removeprefix('torch.')} {what}"
        raise UsageError(f"model {name} cannot take {what}: {type(error).__name__}: {error}") from error


def _unfit(name: str, wanted: str, found: object) -> UsageError:
    got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    return UsageError(f"model {name} must return {wanted} for this data; for {ASKED} images it gave {got}")


def _batch(*shape: int) -> str:
    return f"(batch, {', '.join(map(str, shape))})" if shape else "(batch,)"


def _classes(y: Tensor) -> int:
    """How many classes labels tell of, by the largest of them."""
    if not len(y):
        return 0
    if y.dtype != torch.int64 or y.ndim != 1:
        kind = str(y.dtype).removeprefix("torch.")
        raise UsageError(f"labels must be class numbers, int64 (n,), got {kind} {tuple(y.shape)}")
    low, high = (int(one) for one in y.aminmax())
    if low < 0:
        raise UsageError(f"labels must be class numbers from 0 on, got {low}")
    return high + 1
