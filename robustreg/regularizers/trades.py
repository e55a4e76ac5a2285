"""TRADES: accuracy of the clean images, and beside it agreement between each of them and its neighbourhood."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ..hookspecs import Predict, hookimpl
from ..noise import Rng
from ..regularizer import Knob, scaled
from .divergence import divergence
from .searching import Searching

NUDGE = 1e-3  # standard deviation of the start: at x itself the divergence has no slope


class Trades(Searching):
    """Add `strength` * KL(p(x) || p(x')) to the loss, where x' maximizes that divergence within `eps` of x.

    The search makes `steps` steps from x plus a little Gaussian noise. `strength` is the paper's beta, the weight of
    robustness against accuracy. It is the strength and `eps` a knob, because a weight of 0 takes the whole term out,
    to the last bit; at eps 0 a divergence of two equal things is left, which is 0 but for rounding. `crafting` and
    `warmup` are as in PGD training. BatchNorm's statistics are of the clean images alone.

    Expected: within eps as robust as PGD training, and more so beyond it, for a little clean accuracy and much of the
    calibration; wrong labels are memorized less, random labels learned (its first term sees the images as they are);
    `steps` + 3 times the cost.
    Zhang et al, Theoretically principled trade-off between robustness and accuracy, 2019.
    """

    name = "trades"
    kind = "adversarial"
    budget = "eps"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    strength = Knob(6.0, symbol="beta", log=True, doc="weight of the divergence")
    eps = Knob(2 / 16, doc="budget of the search in pixel units; at most 1 in linf")

    @hookimpl
    def penalty(self, x: Tensor, logits: Tensor, predict: Predict, progress: float, rng: Rng) -> Mapping[str, Tensor]:
        """Return the weighted divergence."""
        training = self.in_training_mode
        known = (logits if training else predict(x, training=False)).detach()
        start = x + NUDGE * rng.normal(*x.shape).to(x.dtype)
        moved = self.search(
            x, lambda image: divergence(known, predict(image, training=training)), start, self.eps_at(progress)
        )
        return {self.name: scaled(self.strength, divergence(logits, predict(moved)))}
