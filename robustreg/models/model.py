"""What a plugin offers as a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import UsageError
from ..inference import device_of, untraced


@dataclass(frozen=True)
class ModelSource:
    """A network that can be built for any data set.

    Attributes:
        name: how users pick it.
        build: `build(shape, classes, **options) -> nn.Module`, from one image's `(channels, height, width)` and the
            number of classes; the keyword options with their defaults are what a user can set.
        about: one sentence.
    """

    name: str
    build: Callable[..., nn.Module]
    about: str


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def check_fits(model: nn.Module, shape: tuple[int, ...], classes: int, name: str) -> None:
    """Raise a UsageError unless `model` maps images of this shape to one logit a class."""
    images = torch.zeros(2, *shape, device=device_of(model))
    try:
        with untraced(model), torch.no_grad():
            found = model(images)
    except Exception as error:
        raise UsageError(
            f"model {name} cannot take images of shape {shape}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, torch.Tensor) or found.shape != (2, classes):
        got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise UsageError(
            f"model {name} must return logits (batch, {classes}) for this data; for 2 images it gave {got}"
        )
