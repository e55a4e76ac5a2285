"""How a run is trained, apart from its regularizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from .compiler import without_compiler
from .errors import UsageError, suggest
from .sgd import SGD

OPTIMIZERS = {"sgd": SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
KINDS: dict[str, tuple[type, str]] = {
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "bool": (bool, "True or False"),
    "str": (str, "a word"),
}
FUSED = ("cpu", "cuda")  # where torch has the whole update of all parameters as one kernel


@dataclass(frozen=True)
class Recipe:
    """How a run is trained, apart from its regularizers.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        optimizer: "sgd", "adam" or "adamw".
        learning_rate: the base that schedules multiply.
        momentum: of SGD; the decay of the first moment in Adam.
        weight_decay: the optimizer's own.
        shuffle: draw a new order each epoch; False keeps the order of the split.
    """

    epochs: int = 20
    batch_size: int = 50
    optimizer: str = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    shuffle: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (kind, wanted) = getattr(self, field.name), KINDS[str(field.type)]
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise UsageError(f"{field.name} must be {wanted}, got {value!r:.80}")
        if self.optimizer not in OPTIMIZERS:
            hint = suggest(self.optimizer, OPTIMIZERS)
            raise UsageError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}.{hint}")
        for name, low in (("epochs", 0), ("batch_size", 1), ("learning_rate", 0), ("weight_decay", 0)):
            if not getattr(self, name) >= low:
                raise UsageError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum must be in [0, 1), got {self.momentum}")

    def changed(self, **settings: Any) -> Recipe:
        """Return the recipe with other settings; a UsageError for one that it does not have."""
        for name in settings:
            if name not in self.__dataclass_fields__:
                known = ", ".join(self.__dataclass_fields__)
                hint = suggest(name, self.__dataclass_fields__)
                raise UsageError(f"a training has no setting {name!r}; it has {known}.{hint}")
        return replace(self, **settings)

    def build(self, parameters: Sequence[Tensor] | Sequence[Mapping[str, Any]]) -> torch.optim.Optimizer:
        """Return the torch optimizer of this recipe, fused where torch can; momentum is Adam's first moment decay.

        Args:
            parameters: tensors, or groups of them as torch.optim takes them.
        """
        settings: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        settings |= {"momentum": self.momentum} if self.optimizer == "sgd" else {"betas": (self.momentum, 0.999)}
        tensors = [one for one in parameters if isinstance(one, Tensor)]
        with without_compiler():
            return OPTIMIZERS[self.optimizer](parameters, fused=bool(tensors) and fusible(tensors), **settings)


def fusible(tensors: Sequence[Tensor]) -> bool:
    """Return whether torch can update all these tensors with one kernel."""
    return all(tensor.device.type in FUSED and tensor.is_floating_point() for tensor in tensors)
