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


class L1(Regularizer):
    """Add `strength` * sum |w| to the loss.

    Expected: sparse weights; a little clean accuracy lost, some robustness gained, less memorization.
    Tibshirani, Regression shrinkage and selection via the lasso, 1996.
    """

    name = "l1"
    strength = Knob(1e-4, symbol="lambda", log=True, doc="factor of the sum of absolute weights")
    params = Knob("weights", choices=PARAMETERS, doc="penalize the weights alone, or biases too")

    @hookimpl
    def penalty(self, params: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weighted norm."""
        return {self.name: scaled(self.strength, l1_norm(chosen(params, self.params)))}
