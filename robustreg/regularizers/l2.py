"""L2: the sum of squared weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..regularizer import Knob, Regularizer, scaled
from .l1 import PARAMETERS, chosen


def squared_l2_norm(params: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of squares over all tensors of `params`, a scalar; no factor 1/2.

    Hoerl and Kennard, Ridge regression: biased estimation for nonorthogonal problems, 1970.
    """
    return torch.stack([value.square().sum() for value in params.values()]).sum()


class L2(Regularizer):
    """Add `strength` * sum w**2 to the loss. Under SGD this equals a weight decay of 2 * `strength`.

    Expected: smaller weights; a little robustness, less memorization at larger strengths.
    Hoerl and Kennard, Ridge regression: biased estimation for nonorthogonal problems, 1970.
    """

    name = "l2"
    kind = "weights"
    strength = Knob(1e-3, symbol="lambda", log=True, doc="factor of the sum of squared weights")
    params = Knob("weights", choices=PARAMETERS, doc="penalize the weights alone, or biases too")

    @hookimpl
    def penalty(self, params: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weighted squared norm."""
        return {self.name: scaled(self.strength, squared_l2_norm(chosen(params, self.params)))}
