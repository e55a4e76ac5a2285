"""A plugin for robustreg: a defence that looks strong until somebody attacks it well."""

from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl


def squared_norm(logits: Tensor) -> Tensor:
    """Return the mean squared norm of the rows of `(batch, classes)` logits, a scalar."""
    return logits.square().sum(-1).mean()


class LogitSqueezing(Regularizer):
    """Add `strength` times the mean squared norm of the logits to the loss.

    A teaching example of a broken defence: small logits leave weak gradients, so that one step of FGSM finds little
    and the network looks robust; attacks of many steps and restarts take most of it back.

    Expected: clean accuracy the same; FGSM accuracy up by more than robust accuracy.
    Kannan et al, Adversarial logit pairing, 2018; broken by Mosbach et al, Logit pairing methods can fool
    gradient-based attacks, 2018.
    """

    name = "logit_squeezing"
    kind = "labels and outputs"
    strength = Knob(0.05, symbol="lambda", log=True, doc="weight of the squared norm of the logits")
    tasks = ("classification",)

    @hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        """Return the weighted squared norm."""
        return {self.name: self.strength.to(logits.dtype) * squared_norm(logits)}


@hookimpl
def regularizers() -> list[type[Regularizer]]:
    """Offer the regularizer to robustreg."""
    return [LogitSqueezing]
