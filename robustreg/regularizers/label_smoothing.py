"""Label smoothing."""

from typing import ClassVar

from torch import Tensor

from ..hookspecs import hookimpl
from ..regularizer import Knob, Regularizer


def smooth(y: Tensor, strength: Tensor | float) -> Tensor:
    """Return (1 - strength) * y + strength / classes, for `(batch, classes)` rows that are distributions."""
    return y + strength * (1 / y.shape[-1] - y)


class LabelSmoothing(Regularizer):
    """Give a share `strength` of each label to all classes alike.

    Expected: clean accuracy up a little; FGSM flatters it, a real attack does not; calibration worse on easy data.
    Szegedy et al, Rethinking the inception architecture for computer vision, 2016.
    """

    name = "label_smoothing"
    kind = "labels and outputs"
    strength = Knob(0.1, high=1, symbol="alpha", doc="share of the label spread over all classes")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    @hookimpl
    def batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images and their smoothed labels."""
        return x, smooth(y, self.strength.to(y.dtype))
