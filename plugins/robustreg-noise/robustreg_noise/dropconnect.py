"""DropConnect: dropout of weights in the place of units."""

from collections.abc import Mapping

from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl
from robustreg.hookspecs import Weights
from robustreg.noise import Rng


class DropConnect(Regularizer):
    """Zero each weight of the linear layers with probability `strength`, and scale the rest by 1 / (1 - `strength`).

    One mask a layer and step; the paper draws one for each image, which takes as many matrices as there are images.
    Linear layers are recognized by their weights of two dimensions. Trained weights are used as they are, where the
    paper samples.

    Expected: as dropout: clean accuracy up a little, memorization down a lot; FGSM flatters it.
    Wan et al, Regularization of neural networks using DropConnect, 2013.
    """

    name = "dropconnect"
    kind = "network"
    strength = Knob(0.5, high=0.99, symbol="p", doc="probability of dropping a weight")

    @hookimpl
    def weights(self, params: Weights, rng: Rng) -> Mapping[str, Tensor]:
        """Return the thinned weights."""
        keep = 1 - self.strength
        return {
            name: value * (rng.split(name).bernoulli(keep, *value.shape, dtype=value.dtype) / keep.to(value.dtype))
            for name, value in params.items()
            if value.ndim == 2
        }
