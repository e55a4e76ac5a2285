"""Adversarial training with the fast gradient sign method."""

import torch
from torch import Tensor

from ..hookspecs import Loss, hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer, scaled


class FGSMTraining(Regularizer):
    """Learn from images moved by `strength` along the sign of the loss gradient.

    A share `clean` of each batch, drawn anew each step, stays as it is: the paper's weight of the clean loss (0.5
    there), in expectation and without a second forward pass.

    Expected: real robustness at small eps; catastrophic overfitting at large eps (FGSM accuracy above clean accuracy,
    nothing left under PGD).
    Goodfellow et al, Explaining and harnessing adversarial examples, 2015.
    """

    name = "fgsm_training"
    strength = Knob(2 / 16, high=1, symbol="eps", doc="size of the step in pixel units")
    clean = Knob(0.0, high=1, doc="share of each batch that stays clean")

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        # A Python value, in which runs that train together agree, so that nobody draws noise that is not used.
        self.some_stay = bool(self.settings()["clean"])

    @hookimpl(trylast=True)
    def batch(self, x: Tensor, y: Tensor, loss: Loss, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the adversarial batch."""
        gradient = torch.func.grad(lambda image: loss(image, y))(x).detach()  # learning does not look through it
        attacked = (x + scaled(self.strength, gradient.sign())).clamp(0, 1)
        if not self.some_stay:
            return attacked, y
        stays = rng.bernoulli(self.clean, len(x), *(1,) * (x.ndim - 1))
        return torch.where(stays, x, attacked), y
