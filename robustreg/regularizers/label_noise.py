"""Wrong labels on purpose."""

from typing import ClassVar

import torch
from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer


def flipped(y: Tensor, chosen: Tensor, rng: Rng) -> Tensor:
    """Return labels of which the chosen ones are another, uniformly drawn from those that occur.

    Args:
        y: `(n,)` int64 labels, or `(n, classes)` rows, which are rotated: what they say is said of another class.
        chosen: bool `(n,)`.
        rng: what draws.
    """
    if y.ndim == 1:
        labels, place = y.unique(return_inverse=True)
        return torch.where(chosen, labels[_other(place, len(labels), rng)], y)
    count = y.shape[1]
    turn = _other(torch.zeros(len(y), dtype=torch.int64, device=y.device), count, rng)
    source = (torch.arange(count, device=y.device) - turn[:, None]) % count
    return torch.where(chosen[:, None], y.gather(1, source), y)


def _other(place: Tensor, count: int, rng: Rng) -> Tensor:
    return (place + 1 + rng.integers(max(count - 1, 1), len(place))) % count


class LabelNoise(Regularizer):
    """Learn from a wrong label with probability `strength`: another class, drawn for each image in each epoch, or once.

    Formula: y' = y with probability 1 - strength, else uniform over the other classes. Drawn each epoch it is a
    regularizer, which no network can learn by heart; drawn `once` it is the disease that others are tried on.

    Expected: clean accuracy the same, predictions less sure, memorization of other wrong labels down a little, robust
    accuracy up a little where FGSM says a lot; with `once`, clean accuracy down, the more the longer the training.
    Xie et al, DisturbLabel: regularizing CNN on the loss layer, 2016, draw over all classes, the true one included: a
    rate of strength * classes / (classes - 1) there.
    """

    name = "label_noise"
    kind = "labels and outputs"
    strength = Knob(0.1, high=1, symbol="share", doc="probability that a label is wrong")
    when = Knob("epoch", choices=("epoch", "once"), doc="draw anew each epoch, or once for the whole training")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    key: Tensor

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        self.register_buffer("key", torch.tensor(0))  # of the draw that holds for the whole training; 0 before it

    @hookimpl
    def before_epoch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the images and the labels to learn in this epoch."""
        if self.when == "once":
            if not int(self.key):
                self.key.fill_(int(rng.key))
            rng = Rng(int(self.key), rng.device)
        return x, flipped(y, rng.bernoulli(self.strength, len(y)), rng)
