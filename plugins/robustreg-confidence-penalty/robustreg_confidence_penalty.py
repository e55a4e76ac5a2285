"""A plugin for robustreg: reward networks that are not sure of themselves."""

from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl


def entropy(logits: Tensor) -> Tensor:
    """Return the mean entropy, in nats, of the predicted distributions of `(batch, classes)` logits, a scalar."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


class ConfidencePenalty(Regularizer):
    """Subtract `strength` times the entropy of the predictions from the loss.

    Expected: clean accuracy the same or up a little, as with label smoothing; no robustness against a real attack.
    Pereyra et al, Regularizing neural networks by penalizing confident output distributions, 2017.
    """

    name = "confidence_penalty"
    strength = Knob(0.1, symbol="beta", log=True, doc="weight of the entropy, per nat")
    tasks = ("classification",)

    @hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        """Return the weighted negative entropy."""
        return {self.name: -self.strength.to(logits.dtype) * entropy(logits)}


@hookimpl
def regularizers() -> list[type[Regularizer]]:
    """Offer the regularizer to robustreg."""
    return [ConfidencePenalty]
