"""Which regularizer makes a classifier generalize and withstand attack, and how sure can you be?

The names users import. Each is loaded when it is first used, so that `import robustreg` alone loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import attacks, data, measures, models, regularizers, testing
    from .cohort import train_many
    from .data import load_data
    from .hookspecs import hookimpl
    from .measures import evaluate
    from .objective import Objective
    from .recipe import Recipe
    from .regularizer import Knob, Regularizer
    from .session import Run
    from .study.comparison import Comparison
    from .study.runner import compare
    from .training import train
    from .tuning import Tuning, tune

    __version__: str

_FROM = {
    "Comparison": "study",
    "Knob": "regularizer",
    "Objective": "objective",
    "Recipe": "recipe",
    "Regularizer": "regularizer",
    "Run": "session",
    "Tuning": "tuning",
    "compare": "study",
    "evaluate": "measures",
    "hookimpl": "hookspecs",
    "load_data": "data",
    "train": "training",
    "train_many": "cohort",
    "tune": "tuning",
}
_ROOMS = ("attacks", "data", "measures", "models", "regularizers", "testing")

__all__ = [
    "Comparison",
    "Knob",
    "Objective",
    "Recipe",
    "Regularizer",
    "Run",
    "Tuning",
    "__version__",
    "attacks",
    "compare",
    "data",
    "evaluate",
    "hookimpl",
    "load_data",
    "measures",
    "models",
    "regularizers",
    "testing",
    "train",
    "train_many",
    "tune",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name in _FROM:
        value = getattr(import_module(f".{_FROM[name]}", __name__), name)
    elif name in _ROOMS:
        return import_module(f".{name}", __name__)
    elif name == "__version__":
        from importlib.metadata import version

        value = version(__name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
