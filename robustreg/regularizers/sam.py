"""Sharpness-aware minimization: the gradient is taken where the loss is worst nearby."""

import torch
from torch import Tensor, nn

from ..hookspecs import Loss, Weights, hookimpl
from ..regularizer import Knob, Regularizer, scaled

LEAST = 1e-12  # of a gradient's norm, so that a gradient of 0 moves nothing


def ascent(gradients: Weights) -> dict[str, Tensor]:
    """Return the gradients divided by the norm of all of them together; 0 where they are 0."""
    norm = torch.stack([one.square().sum() for one in gradients.values()]).sum().sqrt()
    return {name: one / norm.clamp_min(LEAST) for name, one in gradients.items()}


class SAM(Regularizer):
    """Take the gradient at the weights that raise the loss most within a distance of `strength`.

    Formula: w' = w + rho * g / ||g||, g the gradient of the loss at w, the norm over all trained weights; the weights w
    are then updated with the gradient at w', through which nothing flows back. The loss of the step is that at w', and
    BatchNorm keeps its statistics there, too. Penalties look at w.

    Expected: clean accuracy the same or up a little; less memorization, much less at 0.2; robust accuracy up a little.
    Two passes a step instead of one.
    Foret et al, Sharpness-aware minimization for efficiently improving generalization, 2021.
    """

    name = "sam"
    kind = "weights"
    strength = Knob(0.05, high=100, symbol="rho", log=True, doc="distance that the weights are moved, in all together")

    @hookimpl(trylast=True)
    def prepare(self, model: nn.Module) -> None:
        """Note which weights are trained."""
        self.trained = tuple(name for name, value in model.named_parameters() if value.requires_grad)

    @hookimpl
    def weights(self, params: Weights, x: Tensor, y: Tensor, loss: Loss) -> Weights:
        """Return the weights at the end of the ascent."""
        trained = {name: params[name] for name in self.trained}

        def at(moved: dict[str, Tensor]) -> Tensor:
            return loss(x, y, params={**params, **moved})

        slope: dict[str, Tensor] = torch.func.grad(at)({name: value.detach() for name, value in trained.items()})
        return {name: trained[name] + scaled(self.strength, one) for name, one in ascent(slope).items()}
