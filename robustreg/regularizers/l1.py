"""L1: the sum of absolute weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..regularizer import Knob, Regularizer, scaled

PARAMETERS = ("weights", "all")


def chosen(params: Mapping[str, Tensor], which: str) -> dict[str, Tensor]:
    """Return all parameters, or the weights alone: those with two dimensions or more, so no biases and no norms."""
    return {name: value for name, value in params.items() if which == "all" or value.ndim > 1}


def l1_norm(params: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of absolute values over all tensors of `params`, a scalar.

    Tibshirani, Regression shrinkage and selection via the lasso, 1996.
    """
    return torch.stack([value.abs().sum() for value in params.values()]).sum()


def shrunk(value: Tensor, by: Tensor) -> Tensor:
    """Return `value` with every entry moved towards 0 by `by`, a scalar, and no further than 0 (soft threshold)."""
    return value - value.clamp(-by, by)


class L1(Regularizer):
    """Add `strength` * sum |w| to the loss.

    With `proximal=true` the loss stays as it is, and after each update every weight is moved towards 0 by the learning
    rate times `strength`, and no further: w <- sign(w) * max(|w| - learning rate * lambda, 0). Small weights are then
    exactly 0, which a gradient never makes them. Both minimize the same under plain SGD; momentum m multiplies what
    the loss does by 1 / (1 - m) and the threshold not, so there the strength counts as one of (1 - m) * lambda.

    Expected: sparse weights; a little clean accuracy lost, some robustness gained, less memorization.
    Tibshirani, Regression shrinkage and selection via the lasso, 1996; the proximal step: Daubechies et al, An
    iterative thresholding algorithm for linear inverse problems with a sparsity constraint, 2004.
    """

    name = "l1"
    kind = "weights"
    strength = Knob(1e-4, symbol="lambda", log=True, doc="factor of the sum of absolute weights")
    params = Knob("weights", choices=PARAMETERS, doc="penalize the weights alone, or biases too")
    proximal = Knob(False, doc="shrink the weights after each update, in the place of a penalty")

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        # A hook that is None is not called: one that returns nothing would still cost every step of every run.
        setattr(self, "penalty" if self.proximal else "after_step", None)

    @hookimpl
    def penalty(self, params: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weighted norm."""
        return {self.name: scaled(self.strength, l1_norm(chosen(params, self.params)))}

    @hookimpl
    def after_step(self, params: Mapping[str, Tensor], learning_rate: Tensor) -> Mapping[str, Tensor]:
        """Return the shrunk weights."""
        by = learning_rate * self.strength
        return {name: shrunk(value, by.to(value.dtype)) for name, value in chosen(params, self.params).items()}
