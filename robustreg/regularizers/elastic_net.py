"""Elastic net: L1 and L2 together."""

from collections.abc import Mapping

from torch import Tensor

from ..hookspecs import hookimpl
from ..regularizer import Knob, Regularizer, scaled
from .l1 import PARAMETERS, chosen, l1_norm
from .l2 import squared_l2_norm


class ElasticNet(Regularizer):
    """Add `strength` * (sum |w| + `ratio` * sum w**2) to the loss.

    Expected: as l1 and l2 together.
    Zou and Hastie, Regularization and variable selection via the elastic net, 2005.
    """

    name = "elastic_net"
    kind = "weights"
    strength = Knob(1e-4, symbol="lambda", log=True, doc="factor of the whole penalty")
    ratio = Knob(5.0, doc="weight of the squared norm beside the absolute one")
    params = Knob("weights", choices=PARAMETERS, doc="penalize the weights alone, or biases too")

    @hookimpl
    def penalty(self, params: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weighted sum of both norms."""
        some = chosen(params, self.params)
        return {self.name: scaled(self.strength, l1_norm(some) + scaled(self.ratio, squared_l2_norm(some)))}
