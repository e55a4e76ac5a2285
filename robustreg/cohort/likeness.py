"""What runs must have in common to be trained in one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (int, float, str, bool, type(None))
_TORCHS = frozenset(vars(nn.Module()))  # what torch keeps of any module, tensors and modules among it


class Unlike(ValueError):
    """Runs that cannot share a step: it says why."""


def structure(*modules: nn.Module) -> list[Any]:
    """Return what modules must have in common to be stacked: all but the values of parameters, buffers and knobs.

    Of an object of an unknown kind it is the kind. What that leaves out, and what hooks of layers do, is found when
    the runs of a stack are compared with themselves alone.
    """
    found: list[Any] = []
    for name, module in (pair for root in modules for pair in root.named_modules()):
        values = {"training": module.training, **beside_tensors(module)}
        values |= {key: one for key, one in values.pop("_settings", {}).items() if not module.knobs[key].is_tensor}
        tensors = {**module._parameters, **module._buffers}
        sizes = {key: one if one is None else (one.shape, one.dtype, one.requires_grad) for key, one in tensors.items()}
        plain = described(values)
        found.append((name, type(module).__module__, type(module).__qualname__, plain, sizes))
    return found


def beside_tensors(module: nn.Module) -> dict[str, Any]:
    """Return what a module by itself keeps, apart from tensors, modules, hooks and its mode."""
    return {key: value for key, value in vars(module).items() if key not in _TORCHS}


def described(value: Any, unknown: Callable[[Any], Any] = lambda value: type(value).__qualname__) -> Any:
    """Return what two values have in common that are the same: numbers, words, collections and arrays by what they say.

    Args:
        value: anything.
        unknown: of an object of another kind.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {str(key): described(one, unknown) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [described(one, unknown) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(described(one, unknown)) for one in value)
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), crc32(np.ascontiguousarray(value).tobytes())
    if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta:  # and yet no buffer
        return value.dtype, described(value.detach().cpu().reshape(-1).view(torch.uint8).numpy()), value.shape
    return unknown(value)
