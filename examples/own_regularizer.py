"""Write a regularizer, check that it keeps the laws, and compare it."""

from torch import Tensor

import robustreg as rr


class LogitNorm(rr.Regularizer):
    """Penalize large logits: `strength` times their mean square.

    Kannan et al, Adversarial logit pairing, 2018 (logit squeezing).
    """

    name = "logit_squeezing"
    strength = rr.Knob(0.05, log=True, doc="weight of the mean squared logit")

    @rr.hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        """Return the weighted mean square."""
        return {self.name: self.strength.to(logits.dtype) * logits.square().mean()}


def main(seeds: int = 3, epochs: int = 20) -> None:
    """Print the laws that hold, then the comparison."""
    for row in rr.testing.check(LogitNorm):
        print(row["status"], row["check"], row["message"])
    print(rr.compare(["none", LogitNorm(0.05)], seeds=seeds, epochs=epochs, label_noise=[]))


if __name__ == "__main__":
    main()
