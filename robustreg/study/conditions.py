"""Label conditions: true labels, or labels corrupted at a stated rate and mode."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data import MODES, Splits, corrupt_labels
from ..errors import UsageError, suggest


@dataclass(frozen=True)
class LabelCondition:
    """What the training labels are.

    Attributes:
        rate: share of training labels drawn anew; 0 means true labels.
        mode: how; see `data.labels`.
        images: number of training images, None for all.
        epochs: of the training.
    """

    rate: float
    mode: str = "uniform"
    images: int | None = None
    epochs: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise UsageError(f"label noise must be a share in [0, 1], got {self.rate:g}")
        if self.mode not in MODES:
            raise UsageError(f"label-noise mode must be one of {', '.join(MODES)}.{suggest(self.mode, MODES)}")

    def __str__(self) -> str:
        if not self.rate:
            return "true"
        word = "random" if self.mode == "uniform" else self.mode
        return f"{word}:{float(self.rate)}"

    def apply(self, splits: Splits, seed: int) -> Labelled:
        """Return the training data of this condition."""
        train = splits.train
        if self.images is not None and self.images < len(train):
            train = train.subset(torch.arange(self.images))
        truth = replace(splits, train=train)
        if not self.rate:
            return Labelled(truth)
        corruption = corrupt_labels(train.y, len(splits.classes), rate=self.rate, mode=self.mode, seed=seed)
        return Labelled(truth, corruption.y, corruption.wrong)


@dataclass(frozen=True)
class Labelled:
    """Splits with their true labels, and what the training labels are instead.

    Attributes:
        truth: the splits, with the training images of the condition.
        given: corrupted training labels, None when they are the true ones.
        wrong: which of them differ from the truth.
    """

    truth: Splits
    given: Tensor | None = None
    wrong: Tensor | None = None

    @property
    def splits(self) -> Splits:
        """The splits to train on."""
        return self.truth if self.given is None else replace(self.truth, train=self.truth.train.with_labels(self.given))
