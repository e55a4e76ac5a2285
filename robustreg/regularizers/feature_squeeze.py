"""Feature squeezing: fewer colours and smoother images, in front of a trained network."""

from typing import ClassVar

from torch import nn

from ..hookspecs import hookimpl
from ..layers import Squeeze, put_in_front
from ..regularizer import Knob, Regularizer


class FeatureSqueeze(Regularizer):
    """Train as usual, and then let the network see images of `strength` bits a pixel, through a median filter at will.

    Formula: x' = round(x * (2**b - 1)) / (2**b - 1), then the median of each `median` x `median` window. Neither
    has a useful derivative, so attacks are given another one (BPDA, see `robustreg.layers.Squeeze`): they are adaptive
    as they are. For the attack that the method was judged by when it was new, attack the network without what stands
    in front of it and show the result to the whole: `fgsm(robustreg.layers.behind(model), x, y, eps=...)`.

    Expected: clean accuracy down a little, more with fewer bits, and a lot with a median of small images; memorization
    unchanged at 3 bits and more, since training is; robust accuracy unchanged where attacks are adaptive, and up where
    they are not. One bit, and two, are an exception on images that are nearly black and white, as digits are: there a
    change of less than half a level is rounded away, and that is real.
    Xu et al, Feature squeezing: detecting adversarial examples in deep neural networks, 2018; broken by He et al,
    Adversarial example defenses: ensembles of weak defenses are not strong, 2017.
    """

    name = "feature_squeeze"
    kind = "network"
    strength = Knob(
        3, high=8, symbol="bits", doc="bits a pixel is rounded to; 8 leaves most images as they are; 0 is off"
    )
    median = Knob(0, high=15, doc="side of the window of a median filter, in pixels; 0 and 1 for none")
    at_inference: ClassVar[bool] = True

    @hookimpl(trylast=True)
    def finish(self, model: nn.Module) -> nn.Module:
        """Return the network with the squeezer in front."""
        return put_in_front(model, Squeeze(self.strength, self.median)) if self.strength else model
