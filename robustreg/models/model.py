"""What a plugin offers as a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


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
