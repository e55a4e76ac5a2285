"""GradAlign: FGSM training that does not collapse, because the loss stays linear within the budget."""

from collections.abc import Mapping

import torch
from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl
from robustreg.hookspecs import Loss
from robustreg.noise import Rng
from robustreg.regularizer import scaled
from robustreg.regularizers import anywhere

FLOOR = 1e-30  # squared norm of a gradient that counts as none


def misalignment(first: Tensor, second: Tensor) -> Tensor:
    """Return 1 - the cosine between images of two `(batch, *shape)` tensors, averaged over the batch: in [0, 2].

    An image that is 0 in both counts as aligned, one that is 0 in either as half.
    """
    rows = (first.flatten(1), second.flatten(1))
    units = [one / one.square().sum(1, keepdim=True).clamp_min(FLOOR).sqrt() for one in rows]
    # Half the squared distance of unit vectors is 1 - cosine, without its cancellation where they are close.
    return (units[0] - units[1]).square().sum(1).mean() / 2


class GradAlign(Regularizer):
    """Add `strength` * (1 - cos(gradient at x, gradient at x + eta)), eta uniform within `eps`, inside [0, 1].

    Gradients of the loss by the pixels, the cosine image by image. Made for FGSM training (`fgsm_training+gradalign`),
    with the same `eps` as there; x are the images before they are attacked, so name augmentations before it.

    Expected: no catastrophic overfitting in FGSM training, robust accuracy near that of PGD training of two steps;
    clean accuracy down a little; three times the cost.
    Andriushchenko and Flammarion, Understanding and improving fast adversarial training, 2020 (0.2 at eps 8/255).
    """

    name = "gradalign"
    kind = "adversarial"
    strength = Knob(0.2, symbol="lambda", log=True, doc="factor of 1 - cosine")
    eps = Knob(2 / 16, high=1, doc="largest change of a pixel in eta, pixel units")

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        self._clean: list[Tensor] = []  # of the step, between batch and penalty

    @hookimpl
    def batch(self, x: Tensor) -> None:
        """Keep the images as they are before an attack."""
        self._clean = [x]

    @hookimpl
    def penalty(self, y: Tensor, loss: Loss, rng: Rng) -> Mapping[str, Tensor]:
        """Return the weighted misalignment."""
        x = self._clean.pop()
        slope = torch.func.grad(lambda images: loss(images, y))
        gap = misalignment(slope(x), slope(anywhere(x, rng, eps=self.eps)))
        return {self.name: scaled(self.strength, gap)}
