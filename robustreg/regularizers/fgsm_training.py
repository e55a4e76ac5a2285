"""Adversarial training with the fast gradient sign method."""

from torch import Tensor

from ..hookspecs import Loss
from ..noise import Rng
from .adversarial import AdversarialTraining
from .ascent import ascend


class FGSMTraining(AdversarialTraining):
    """Learn from images moved by `strength` along the sign of the loss gradient.

    A share `clean` of each batch, drawn anew each step, stays as it is: the paper's weight of the clean loss (0.5
    there), in expectation and without a second forward pass.

    Expected: real robustness at small eps; catastrophic overfitting at large eps (FGSM accuracy above clean accuracy,
    nothing left under PGD).
    Goodfellow et al, Explaining and harnessing adversarial examples, 2015.
    """

    name = "fgsm_training"
    kind = "adversarial"

    def attacked(self, x: Tensor, y: Tensor, loss: Loss, rng: Rng, progress: float) -> Tensor:
        """Return clamp(x + eps * sign(gradient of the loss by x), 0, 1)."""
        return ascend(x, lambda image: loss(image, y), eps=self.strength, steps=1, travel=1)
