"""Early stopping, with the best epoch restored."""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..hookspecs import hookimpl
from ..regularizer import Knob, Regularizer


class EarlyStopping(Regularizer):
    """Stop when validation has not improved for more than `strength` epochs, and keep the network of the best one.

    Expected: less memorization of wrong labels. On fully random labels any validation-based stopper is arbitrary.
    Prechelt, Early stopping - but when?, 1998; Rice et al, Overfitting in adversarially robust deep learning, 2020.
    """

    name = "early_stopping"
    strength = Knob(5, high=100_000, symbol="patience", doc="epochs without improvement allowed; 0 never stops")
    monitor = Knob("accuracy", choices=("accuracy", "nll", "error"), doc="validation metric that must improve")
    min_delta = Knob(0.0, doc="smallest change that counts as an improvement")

    best_score: Tensor
    waited: Tensor

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        self.register_buffer("best_score", torch.tensor(-math.inf, dtype=torch.float64))
        self.register_buffer("waited", torch.tensor(0))
        self.best: nn.Module | None = None

    @hookimpl(trylast=True)
    def prepare(self, model: nn.Module) -> None:
        """Keep a copy of the network, as every other regularizer has prepared it, to hold the best weights."""
        if self.strength:
            self.best = copy.deepcopy(model).requires_grad_(False)

    @hookimpl
    def after_epoch(self, metrics: Mapping[str, float], model: nn.Module) -> bool | None:
        """Remember the network if it is the best so far; return True when patience is over."""
        if self.best is None:
            return None
        key = f"val_{self.monitor}"
        if key not in metrics:
            known = ", ".join(name for name in metrics if name.startswith("val_")) or "none: there is no validation set"
            raise UsageError(f"{self.name}: monitor={self.monitor} needs the metric {key}; there are {known}")
        score = metrics[key] if self.monitor == "accuracy" else -metrics[key]
        if score > self.best_score + self.min_delta:
            self.best_score.fill_(score)
            self.waited.zero_()
            self.best.load_state_dict(model.state_dict())
        else:
            self.waited += 1
        return bool(self.waited > self.strength)

    @hookimpl
    def finish(self, model: nn.Module) -> nn.Module:
        """Return the network with the weights of its best epoch."""
        if self.best is not None and math.isfinite(self.best_score):
            model.load_state_dict(self.best.state_dict())
        return model
