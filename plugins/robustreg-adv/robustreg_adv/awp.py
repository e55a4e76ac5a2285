"""Adversarial weight perturbation: the loss is taken at weights that were moved up its slope."""

from collections.abc import Mapping

import torch
from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl
from robustreg.hookspecs import Loss, Weights
from robustreg.regularizer import scaled


def worst_weights(params: Weights, loss: Loss, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return, for each weight of two or more dimensions, the way up the loss, as long as the weight itself.

    Formula: ||W|| * g / ||g||, g the gradient of the loss by W, both norms over the whole tensor; 0 where g is.

    Args:
        params: weights by name.
        loss: from images, labels and `params=` to a scalar.
        x: `(batch, *shape)`.
        y: what `loss` takes for them.
    """
    layers = {name: value for name, value in params.items() if value.ndim > 1}
    slopes = torch.func.grad(lambda moved: loss(x, y, params={**params, **moved}))(layers)
    ways = {}
    for name, slope in slopes.items():
        # By its largest entry first: the square of a very small number is 0.
        unit = slope.detach() / slope.detach().abs().amax().clamp_min(torch.finfo(slope.dtype).tiny)
        ways[name] = params[name].detach().norm() * unit / unit.norm().clamp_min(torch.finfo(slope.dtype).tiny)
    return ways


class AWP(Regularizer):
    """Take the loss and its gradient at W + `strength` * ||W|| * g / ||g||, g the gradient of the loss by W.

    Layer by layer, for weights of two or more dimensions. The images are those that are learned from, so with
    adversarial training (`pgd_training+awp`) weights and images are attacked together, as in the paper; alone it is
    a relative of sharpness-aware minimization. One ascent step, as the paper advises; no warm-up.

    Expected: a smaller gap between robust training and test accuracy, robust accuracy up 1 to 2 points; clean
    accuracy hardly changed; memorization down; one more pass a step.
    Wu et al, Adversarial weight perturbation helps robust generalization, 2020 (gamma 0.005 to 0.01).
    """

    name = "awp"
    kind = "adversarial"
    strength = Knob(0.005, symbol="gamma", log=True, doc="length of the perturbation, as a share of each weight's norm")

    @hookimpl
    def weights(self, params: Weights, x: Tensor, y: Tensor, loss: Loss) -> Mapping[str, Tensor]:
        """Return the perturbed weights."""
        ways = worst_weights(params, loss, x, y)
        return {name: params[name] + scaled(self.strength, way) for name, way in ways.items()}
