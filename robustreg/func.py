"""`vmap` and `grad` of `torch.func`, without what torch does around every call.

torch looks for tensors in arguments and results of any kind, and asks for each whether a model is being exported: in
Python, at every call. In the steps of small networks, which call them for every hook, that took as long as a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

try:
    from torch._C._functorch import (
        _add_batch_dim,
        _grad_decrement_nesting,
        _grad_increment_nesting,
        _remove_batch_dim,
        _unwrap_for_grad,
        _vmap_decrement_nesting,
        _vmap_increment_nesting,
        _wrap_for_grad,
        get_inplace_requires_grad_allowed,
        set_inplace_requires_grad_allowed,
    )

    LEAN = True
except ImportError:  # where torch has not all of these names, its own way is taken
    LEAN = False

_NO_HOOKS = "gradients inside torch.func do not go with hooks on what autograd saves"


def vmap(function: Callable[..., Any], rows: int, *arguments: Any) -> Any:
    """Return `torch.func.vmap(function)(*arguments)`.

    Args:
        function: what to do with each row; returns a tensor, or a tuple or dict of them.
        rows: how many there are.
        arguments: tensors `(rows, ...)`, or dicts of them.
    """
    if not LEAN:
        return torch.func.vmap(function)(*arguments)
    _load_rules()
    level = _vmap_increment_nesting(rows, "error")
    try:
        found = function(*_each(arguments, lambda tensor: _add_batch_dim(tensor, 0, level)))
        return _each(found, lambda tensor: _remove_batch_dim(tensor, level, rows, 0))
    finally:
        _vmap_decrement_nesting()


def grad(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Return `torch.func.grad(function)(at)`, the gradient of a scalar; nothing flows back through it."""
    if not LEAN:
        with torch.no_grad():
            return torch.func.grad(function)(at)
    level = _grad_increment_nesting()
    allowed = get_inplace_requires_grad_allowed()
    try:
        with torch.enable_grad(), torch.autograd.graph.disable_saved_tensors_hooks(_NO_HOOKS):
            leaf = _wrap_for_grad(at, level)
            set_inplace_requires_grad_allowed(True)
            try:
                leaf.requires_grad_()
            finally:
                set_inplace_requires_grad_allowed(allowed)
            value = function(leaf)
            (found,) = torch.autograd.grad(value, leaf, allow_unused=True) if value.requires_grad else (None,)
        return torch.zeros_like(at) if found is None else _unwrap_for_grad(found, level)
    finally:
        _grad_decrement_nesting()


@cache
def _load_rules() -> None:
    """Have torch load the rules that it keeps in Python, as its own first call does."""
    torch.func.vmap(torch.neg)(torch.zeros(1))


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _each(one, change) for name, one in value.items()}
    if isinstance(value, tuple):
        return tuple([_each(one, change) for one in value])
    raise TypeError(f"vmap takes and returns tensors, and tuples and dicts of them, got {type(value).__name__}")
