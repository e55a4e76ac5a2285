"""What all regularizers that look for the worst image near each image can be told about that search."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..regularizer import Knob, Regularizer
from ..threat import NORMS, ThreatModel
from .ascent import Score, ascend, warmed

MODES = ("eval", "train")


class Searching(Regularizer):
    """Look for the image of highest score within a budget, in steps; while training begins the budget grows from 0.

    A subclass has a float knob that is the budget in pixel units, called `budget`.

    Raises:
        UsageError: for a budget that is not in pixel units, as 8 in linf.
    """

    budget: ClassVar[str] = "strength"
    steps = Knob(7, low=1, high=1000, doc="gradient steps of the attack")
    travel = Knob(2.5, doc="length of the way that the steps make together, in units of eps")
    norm = Knob("linf", choices=NORMS, doc="how the size of a change is measured")
    warmup = Knob(0.3, high=1, doc="share of training while which eps grows from 0 to its full size")
    crafting = Knob("eval", choices=MODES, doc="mode of the network while the attack looks at it")

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        ThreatModel(self.norm, float(getattr(self, self.budget)))

    @property
    def in_training_mode(self) -> bool:
        """The mode to look at the network in: `predict` and `loss` take it as `training`."""
        return bool(self.crafting == "train")

    def eps_at(self, progress: float) -> Tensor:
        """Return the budget when a share `progress` of training is done."""
        return warmed(getattr(self, self.budget), self.warmup, progress)

    def search(self, x: Tensor, score: Score, start: Tensor, eps: Tensor) -> Tensor:
        """Return the images that the ascent of `score` ends at: `ascend` with the knobs."""
        return ascend(x, score, start, eps=eps, steps=self.steps, travel=self.travel, norm=self.norm)
