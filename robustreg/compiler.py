"""torch's compiler, left alone by processes that do not use it: importing it takes over a second.

torch imports it on the way to other things. Where a later torch does these otherwise, nothing but that second is lost.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

import torch

_NAME = "torch._dynamo"
_MARK = "__dynamo_disable"


class _Absent(ModuleType):
    """Stands where a module of the compiler will stand; who wants more of it than is known here has it imported."""

    def __init__(self, name: str, **known: Any) -> None:
        super().__init__(name)
        vars(self).update(known)

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Let optimizers be made, and gradients be taken inside `torch.vmap`, without torch's compiler being imported."""
    if _NAME in sys.modules or "_dynamo" in vars(torch):
        yield
        return
    # To take a gradient torch.func asks the compiler not to compile it: there is nothing that would.
    autograd = _Absent(f"{_NAME}.compiled_autograd", _disable=nullcontext)
    absent = torch._dynamo = _Absent(_NAME, compiled_autograd=autograd)
    # An optimizer marks one of its methods as not to be compiled, and looks for the mark first.
    method = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
    marked = method is not None and not hasattr(method, _MARK)
    if marked:
        setattr(method, _MARK, method)
    try:
        yield
    finally:
        if marked:
            delattr(method, _MARK)
        if vars(torch).get("_dynamo") is absent:
            del torch._dynamo
