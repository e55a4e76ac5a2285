"""What runs must have in common to be trained in one step."""

from __future__ import annotations

from typing import Any

from torch import nn

_PLAIN = (int, float, str, bool, tuple, type(None))


def structure(*modules: nn.Module) -> list[Any]:
    """Return all that modules must have in common to be stacked: everything that is not the value of a tensor."""
    found: list[Any] = []
    for name, module in (pair for root in modules for pair in root.named_modules()):
        knobs = {key for key, knob in getattr(module, "knobs", {}).items() if knob.is_tensor}
        values = {**vars(module), **vars(module).get("_settings", {})}
        plain = {key: value for key, value in values.items() if key not in knobs and isinstance(value, _PLAIN)}
        tensors = {**module._parameters, **module._buffers}
        sizes = {key: one if one is None else (one.shape, one.dtype, one.requires_grad) for key, one in tensors.items()}
        found.append((name, type(module).__module__, type(module).__qualname__, plain, sizes))
    return found
