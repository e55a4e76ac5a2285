"""The size of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .measure import Measure
from .subject import Subject


def frobenius_norm(params: Mapping[str, Tensor]) -> Tensor:
    """Return the square root of the sum of squares over all tensors of `params`, biases included, a scalar."""
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in params.values()]))


def joint_norm(subject: Subject) -> float | None:
    """Return the Frobenius norm of all parameters together; None for a model without any."""
    params = _parameters(subject)
    return float(frobenius_norm(params)) if params else None


def layer_norms(subject: Subject) -> dict[str, float] | None:
    """Return the Frobenius norm of each parameter, by its name; None for a model without any."""
    return {name: float(frobenius_norm({name: value})) for name, value in _parameters(subject).items()} or None


def _parameters(subject: Subject) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in subject.model.named_parameters()}


MEASURES = (
    Measure("frobenius_norm", joint_norm, None, "Frobenius norm of all parameters together, biases included."),
    Measure("layer_norms", layer_norms, None, "Frobenius norm of each parameter, by its name."),
)
