"""The confidence penalty: a network is not rewarded for being surer than it needs to be."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ..hookspecs import hookimpl
from ..regularizer import Knob, Regularizer, scaled


def entropy(logits: Tensor) -> Tensor:
    """Return the mean entropy, in nats, of the predicted distributions of `(batch, classes)` logits, a scalar."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


class ConfidencePenalty(Regularizer):
    """Subtract `strength` times the entropy of the predictions from the loss.

    Formula: loss - strength * mean_i H(p_i), H(p) = -sum_k p_k log p_k.

    Expected: clean accuracy the same or up a little, as with weak label smoothing; memorization and robust accuracy
    unchanged.
    Pereyra et al, Regularizing neural networks by penalizing confident output distributions, 2017.
    """

    name = "confidence_penalty"
    kind = "labels and outputs"
    strength = Knob(0.1, symbol="beta", log=True, doc="weight of the entropy, per nat")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    @hookimpl
    def penalty(self, logits: Tensor) -> Mapping[str, Tensor]:
        """Return the weighted negative entropy."""
        return {self.name: -scaled(self.strength, entropy(logits))}
