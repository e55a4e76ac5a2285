"""Noise added to the weights while training."""

from collections.abc import Mapping

from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl
from robustreg.hookspecs import Weights
from robustreg.noise import Rng
from robustreg.regularizer import scaled


class WeightNoise(Regularizer):
    """Take the loss and its gradient at W + `strength` * N(0, 1), noise drawn anew each step for every weight.

    For weights of two or more dimensions; biases and normalizations are left alone.

    Expected: flatter minima, memorization down; clean accuracy the same, or down where the noise is as large as the
    weights; robust accuracy hardly changed.
    An, The effects of adding noise during backpropagation training on a generalization performance, 1996; Graves et al,
    Speech recognition with deep recurrent neural networks, 2013 (0.075).
    """

    name = "weight_noise"
    kind = "weights"
    strength = Knob(0.02, symbol="sigma", log=True, doc="standard deviation of the noise")

    @hookimpl
    def weights(self, params: Weights, rng: Rng) -> Mapping[str, Tensor]:
        """Return the noisy weights."""
        return {
            name: value + scaled(self.strength, rng.split(name).normal(*value.shape).to(value.dtype))
            for name, value in params.items()
            if value.ndim > 1
        }
