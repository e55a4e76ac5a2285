"""Adversarial training with projected gradient descent, and its cheap relative of one step from a random start."""

from torch import Tensor

from ..hookspecs import Loss
from ..noise import Rng
from ..regularizer import Knob
from .adversarial import AdversarialTraining
from .ascent import anywhere
from .searching import MODES, Searching


class PGDTraining(AdversarialTraining, Searching):
    """Learn from images that maximize the loss within `strength` of the clean ones: k steps from a random start.

    x' = start uniform in the ball; `steps` times x' = project(x' + travel * eps / steps * sign(gradient of the loss));
    in the norm l2 along the gradient itself. The loss of x' is minimized: min over weights of E max over the ball of
    the loss. `crafting=eval` looks for x' with BatchNorm and dropout in evaluation mode. While the first share
    `warmup` of training passes, eps grows from 0: a small network that meets a large eps at once ends as a constant.

    Expected: real robustness, more than any other regularizer's; clean accuracy down at large eps; random labels are
    learned while eps is small, and without a warm-up not at all; `steps` + 1 times the cost.
    Madry et al, Towards deep learning models resistant to adversarial attacks, 2018.
    """

    name = "pgd_training"
    kind = "adversarial"
    strength = Knob(2 / 16, symbol="eps", doc="budget of the attack in pixel units; at most 1 in linf")

    def attacked(self, x: Tensor, y: Tensor, loss: Loss, rng: Rng, progress: float) -> Tensor:
        """Return the images after the last step."""
        eps, training = self.eps_at(progress), self.in_training_mode
        start = anywhere(x, rng.split("start"), eps=eps, norm=self.norm)
        return self.search(x, lambda image: loss(image, y, training=training), start, eps)


class FGSMRandomStart(PGDTraining):
    """Learn from images of one large step from a random start: PGD training for the price of FGSM training.

    x' = project(start + 1.25 * eps * sign(gradient of the loss at the start)), the start uniform in the ball.

    Expected: at small eps the robustness of PGD training for a quarter of its cost; at large eps catastrophic
    overfitting, as in FGSM training, later and not always.
    Wong et al, Fast is better than free: revisiting adversarial training, 2020.
    """

    name = "fgsm_random_start"
    kind = "adversarial"
    steps = Knob(1, low=1, high=1000, doc="gradient steps of the attack")
    travel = Knob(1.25, doc="length of the step in units of eps")
    warmup = Knob(0.0, high=1, doc="share of training while which eps grows from 0 to its full size")
    crafting = Knob("train", choices=MODES, doc="mode of the network while the attack looks at it")
