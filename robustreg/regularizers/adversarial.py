"""What all regularizers that learn from attacked images in the place of clean ones have in common."""

import torch
from torch import Tensor

from ..hookspecs import Loss, hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer


class AdversarialTraining(Regularizer):
    """Learn from attacked images; a share `clean` of each batch, drawn anew each step, stays as it is.

    A subclass says what an attack is, in `attacked`.
    """

    strength = Knob(2 / 16, high=1, symbol="eps", doc="budget of the attack in pixel units")
    clean = Knob(0.0, high=1, doc="share of each batch that stays clean")

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        # A Python value, in which runs that train together agree, so that nobody draws noise that is not used.
        self.some_stay = bool(self.settings()["clean"])

    def attacked(self, x: Tensor, y: Tensor, loss: Loss, rng: Rng, progress: float) -> Tensor:
        """Return the attacked images, through which nothing flows back."""
        raise NotImplementedError

    @hookimpl(trylast=True)
    def batch(self, x: Tensor, y: Tensor, loss: Loss, progress: float, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the adversarial batch."""
        attacked = self.attacked(x, y, loss, rng, progress)
        if not self.some_stay:
            return attacked, y
        stays = rng.bernoulli(self.clean, len(x), *(1,) * (x.ndim - 1))
        return torch.where(stays, x, attacked), y
