"""A learning rate that falls when validation no longer improves."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import UsageError
from ..hookspecs import hookimpl
from ..regularizer import Knob, Regularizer


class Plateau(Regularizer):
    """Cut the learning rate by the share `strength` when validation has not improved for more than `patience` epochs.

    Formula: (1 - strength) ** (number of cuts so far). Expected: clean accuracy the same or up over a constant rate;
    memorization of random labels down a lot, because validation never improves on them and the rate is soon nothing;
    robust accuracy the same.
    Bengio, Practical recommendations for gradient-based training of deep architectures, 2012; in this form it is
    torch's ReduceLROnPlateau.
    """

    name = "plateau"
    kind = "schedule"
    strength = Knob(0.9, high=1, symbol="cut", doc="share of the learning rate taken away at each cut")
    patience = Knob(2, high=100_000, doc="epochs without improvement allowed before a cut")
    monitor = Knob("accuracy", choices=("accuracy", "nll", "error"), doc="validation metric that must improve")
    min_delta = Knob(0.0, doc="smallest change that counts as an improvement")

    best_score: Tensor
    waited: Tensor
    cuts: Tensor

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        self.register_buffer("best_score", torch.tensor(-math.inf, dtype=torch.float64))
        self.register_buffer("waited", torch.tensor(0))
        self.register_buffer("cuts", torch.tensor(0))

    @hookimpl
    def after_epoch(self, metrics: Mapping[str, float]) -> None:
        """Count the epochs without improvement, and the cuts."""
        if not float(self.strength):
            return
        key = f"val_{self.monitor}"
        if key not in metrics:
            known = ", ".join(name for name in metrics if name.startswith("val_")) or "none: there is no validation set"
            raise UsageError(f"{self.name}: monitor={self.monitor} needs the metric {key}; there are {known}")
        score = metrics[key] if self.monitor == "accuracy" else -metrics[key]
        if score > self.best_score + self.min_delta:
            self.best_score.fill_(score)
            self.waited.zero_()
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.waited.zero_()
            self.cuts += 1

    @hookimpl
    def learning_rate(self) -> float:
        """Return the factor after the cuts so far."""
        return (1 - float(self.strength)) ** int(self.cuts)
