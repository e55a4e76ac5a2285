"""N-FGSM: one large step from a wide random start, left where it ends."""

from torch import Tensor

from robustreg import Knob
from robustreg.hookspecs import Loss
from robustreg.noise import Rng
from robustreg.regularizers import FGSMTraining, anywhere, ascend


class NFGSM(FGSMTraining):
    """Learn from x + eta + `strength` * sign(gradient at x + eta), eta uniform within `spread` * `strength`.

    Both sums are clamped to [0, 1], and to nothing else: the image may be (1 + `spread`) times the budget away.

    Expected: the robustness of PGD training of few steps for the price of FGSM training, without its catastrophic
    overfitting up to large eps; clean accuracy down.
    de Jorge et al, Make some noise: reliable and efficient single-step adversarial training, 2022 (spread 2).
    """

    name = "n_fgsm"
    kind = "adversarial"
    spread = Knob(2.0, doc="largest change of a pixel at the start, in units of eps")

    def attacked(self, x: Tensor, y: Tensor, loss: Loss, rng: Rng, progress: float) -> Tensor:
        """Return the image after the step."""
        start = anywhere(x, rng.split("start"), eps=self.spread * self.strength)
        return ascend(start, lambda image: loss(image, y), eps=self.strength, steps=1, travel=1)
