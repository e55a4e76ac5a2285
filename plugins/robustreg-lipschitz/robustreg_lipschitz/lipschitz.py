"""A bound on the spectral norm of each layer, kept after every step."""

from collections.abc import Mapping

from torch import Tensor, nn

from robustreg import Knob, Regularizer, hookimpl
from robustreg.hookspecs import Weights
from robustreg.noise import Rng, fold, seed_key
from robustreg.regularizers import power_iteration

START = 15  # iterations before training, so that the first steps see the largest singular value already


class Lipschitz(Regularizer):
    """Divide each weight, after each step, by max(1, `strength` * sigma(W)): no layer has a norm above 1 / `strength`.

    sigma is the largest singular value of W, `(outputs, all else)`, by a power iteration that each step goes on with.
    At strength 1 this is spectral normalization (Miyato et al, Spectral normalization for generative adversarial
    networks, 2018) of the layers that have grown beyond norm 1, as a projection: the weights themselves are small, so
    they are saved and looked at as any others, and torch's parametrization, which renames them, is not needed. With
    ReLU and no BatchNorm the logits then change by at most (1 / `strength`)**layers times the change of the pixels in
    l2, where W is the layer: the norm of a convolution can be larger than that of its reshaped kernel.

    Expected: robust accuracy up and memorization down as the bound tightens, clean accuracy down at the end.
    Gouk et al, Regularisation of neural networks by enforcing Lipschitz continuity, 2021.
    """

    name = "lipschitz"
    kind = "weights"
    strength = Knob(0.5, log=True, doc="inverse of the largest norm a layer may have")
    iterations = Knob(1, low=1, high=1000, doc="power iterations a step")

    @hookimpl(trylast=True)
    def prepare(self, model: nn.Module) -> None:
        """Make a vector for every weight of the network, as the other regularizers have prepared it."""
        names = [name for name, value in model.named_parameters() if value.ndim > 1]
        self.vectors = tuple((name, f"left_{at}") for at, name in enumerate(names))
        for name, buffer in self.vectors:
            matrix = model.get_parameter(name).detach().flatten(1)
            start = Rng(fold(seed_key(0), name), matrix.device).normal(len(matrix)).to(matrix.dtype)
            self.register_buffer(buffer, power_iteration(matrix, start, START)[0])

    @hookimpl
    def after_step(self, params: Weights) -> Mapping[str, Tensor]:
        """Return the projected weights, and go on with the power iteration."""
        projected = {}
        for name, buffer in self.vectors:
            matrix, vector = params[name].detach().flatten(1), self.get_buffer(buffer)
            left, right = power_iteration(matrix, vector, self.iterations)
            vector.copy_(left)
            norm = left @ (matrix @ right)
            projected[name] = params[name].detach() / (self.strength.to(norm.dtype) * norm).clamp_min(1)
        return projected
