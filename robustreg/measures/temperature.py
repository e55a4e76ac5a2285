"""One number that a model's logits are divided by, so that its confidence fits how often it is right."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOW, HIGH = 0.01, 100.0


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """Return the T in [0.01, 100] with which `logits / T` give the labels the highest likelihood.

    The likelihood is concave in 1 / T, so its slope has one root at most, which is bracketed and halved. Logits that
    are right about every label have no best T: the sharper the better, and 0.01 is returned.

    Args:
        logits: `(n, classes)`, n at least 1: of validation images, never of those the result is reported on.
        y: int64 labels `(n,)`.

    Guo et al, On calibration of modern neural networks, 2017.
    """
    z = logits.double()
    z = z - z.gather(-1, y.unsqueeze(-1))  # the label's logit is 0: the slope is then the mean logit expected
    low, high = math.log(1 / HIGH), math.log(1 / LOW)
    for _ in range(50):
        middle = (low + high) / 2
        p = torch.softmax(z * math.exp(middle), -1)
        if float((p * z).sum()) > 0:
            high = middle
        else:
            low = middle
    return math.exp(-(low + high) / 2)
