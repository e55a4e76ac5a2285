"""Whether a model trained on random labels is as ignorant of the test labels as it must be."""

from __future__ import annotations

import torch
from torch import Tensor

from .subject import Subject
from .trust.flag import Flag, flagged, standard_error

AMBER, RED = 1.96, 4.0  # standard errors from chance
LEARNED = 0.5  # of what chance leaves wrong


def chance_band(subject: Subject) -> Flag | None:
    """Compare the test accuracy after training on fully random labels with chance p0; None for any other subject.

    Whether a test image gets its label is not one coin toss an image: such a model still answers alike for like
    images, so the answers of a whole class are right or wrong together. The binomial band p0 +- 1.96 sqrt(p0 (1 - p0)
    / n) was left by 10 of 24 networks trained on random labels of digits, where nothing was wrong. Random labels have
    no names, though: the accuracy after renaming the predicted classes at random has the same distribution, and its
    spread is known exactly (Hoeffding, A combinatorial central limit theorem, 1951). Beyond 1.96 of these standard
    errors the flag is amber, as for one run in twenty; beyond 4, or when over half of what chance leaves is right,
    red: labels leak into the training, or they are not random.

    Zhang et al, Understanding deep learning requires rethinking generalization, 2017.
    """
    mode, _, rate = subject.label_condition.rpartition(":")
    test, given = subject.splits.test, subject.given_labels
    if mode not in ("random", "permute") or float(rate) < 1 or given is None or not (subject.classifies and len(test)):
        return None
    said, y = subject.test_logits.argmax(-1), test.y.cpu()
    classes = subject.test_logits.shape[-1]
    chance = 1 / classes
    if mode == "permute":  # the labels given are as frequent as the true ones, which need not be equally so
        frequent = given.cpu().bincount(minlength=classes).double() / len(given)
        chance = float(frequent[y].mean())
    value = float((said == y).double().mean())
    independent = standard_error(chance, len(y))
    spread = max(renaming_spread(y, said, classes), independent)
    off = (value - chance) / spread
    red = abs(off) > RED or value - chance > LEARNED * (1 - chance)
    level = "red" if red else "amber" if abs(off) > AMBER else "green"
    says = (
        f"after training on random labels {value:.1%} of the test images are right where chance is {chance:.1%}"
        f" +- {100 * AMBER * spread:.1f} points (+- {100 * AMBER * independent:.1f} if images were independent)"
    )
    caution = "the labels leak or are not random" if red else "chance does that in one run of twenty"
    return flagged("chance_band", level, value, says, caution)


def renaming_spread(y: Tensor, said: Tensor, classes: int) -> float:
    """Return the standard deviation of the accuracy when the predicted classes get each other's names at random.

    Args:
        y: true classes, int64 `(n,)`, n at least 1.
        said: predicted classes, int64 `(n,)`.
        classes: how many there are, at least 2; all their orders are equally likely.
    """
    table = torch.zeros(classes, classes, dtype=torch.float64)
    table.index_put_((y, said), torch.ones(len(y), dtype=torch.float64), accumulate=True)
    table /= len(y)
    centred = table - table.mean(0, keepdim=True) - table.mean(1, keepdim=True) + table.mean()
    return float((centred.square().sum() / (classes - 1)).sqrt())
