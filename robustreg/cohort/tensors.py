"""Tensors of many runs, stacked one run a row, and the modules they stand in."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def by_run(columns: dict[str, Tensor]) -> list[dict[str, float]]:
    """Return one dict a run, from one `(runs,)` tensor a name, with one transfer."""
    values = torch.stack([column.double() for column in columns.values()], 1).tolist()
    return [dict(zip(columns, row, strict=True)) for row in values]


def put(root: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of the parameter or buffer of this name."""
    path, _, last = name.rpartition(".")
    module = root.get_submodule(path)
    if last in module._parameters:
        module._parameters[last].data = tensor  # type: ignore[union-attr]
    else:
        module._buffers[last] = tensor


def own_tensors(root: nn.Module) -> None:
    """Give a module copies of its tensors, so that it keeps nothing in memory but them."""
    for name, tensor in [*root.named_parameters(), *root.named_buffers()]:
        put(root, name, tensor.detach().clone())
