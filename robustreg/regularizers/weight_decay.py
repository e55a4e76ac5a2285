"""Weight decay, coupled with the gradient or beside it."""

from collections.abc import Mapping

from torch import Tensor

from ..hookspecs import Weights, hookimpl
from ..regularizer import Knob, Regularizer, scaled
from .l1 import PARAMETERS, chosen


class WeightDecay(Regularizer):
    """Pull every weight towards 0 by the share `strength` of itself, times the learning rate, each step.

    Formula: g + strength * w in the place of the gradient g, which is what `torch.optim` calls weight decay (momentum
    and Adam's scaling see it, and under SGD `l2` of half the strength is the same). `decoupled`:
    w' = w_after_the_step - learning_rate * strength * w, which neither sees, as in AdamW: with a momentum of 0.9 the
    coupled decay is about ten times as strong. With `params=all` both equal torch's optimizers.

    Expected: smaller weights; clean accuracy the same, memorization down and robust accuracy up a little.
    Krogh and Hertz, A simple weight decay can improve generalization, 1991; Loshchilov and Hutter, Decoupled weight
    decay regularization, 2019.
    """

    name = "weight_decay"
    kind = "weights"
    strength = Knob(5e-3, symbol="wd", log=True, doc="share of a weight added to its gradient")
    decoupled = Knob(False, doc="whether the decay is applied beside the update instead of in the gradient")
    params = Knob("weights", choices=PARAMETERS, doc="decay the weights alone, or biases too")

    @hookimpl
    def gradient(self, params: Weights, gradients: Weights) -> Mapping[str, Tensor] | None:
        """Return the gradients with the decay, when it is coupled."""
        if self.decoupled:
            return None
        some = chosen(gradients, self.params)
        return {name: value + scaled(self.strength, params[name]) for name, value in some.items()}

    @hookimpl
    def after_step(self, params: Weights, before: Weights, learning_rate: Tensor) -> Mapping[str, Tensor] | None:
        """Return the weights with the decay, when it is decoupled."""
        if not self.decoupled:
            return None
        share = learning_rate * self.strength
        return {name: value - scaled(share, before[name]) for name, value in chosen(params, self.params).items()}
