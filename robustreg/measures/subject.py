"""What is measured: a trained model, its data, and how it came about."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..attacks.attack import Attack
from ..attacks.batching import BATCH
from ..attacks.driver import evaluate_attacks
from ..attacks.report import AttackReport
from ..attacks.transfer import Surrogate
from ..inference import device_of, logits
from ..noise import fold, seed_key
from .degraded import accuracy_on_degraded
from .interval_bounds import layers_of, proved
from .trust.judging import Trust, judge

if TYPE_CHECKING:
    from ..data.split import Splits

TRUE_LABELS = "true"
DEGRADED = 500  # test images that are degraded: nine corruptions at five severities are 45 passes


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained model and what measures need to know about it. What is expensive is computed once, when asked for.

    Args:
        model: from `(batch, *shape)` pixels in [0, 1] to `(batch, outputs)`.
        splits: with the true labels.
        seed: decides what is random in the attacks.
        device: where to compute, on a copy of the model if it is elsewhere; None for where the model is.
        given_labels: int64 `(len(splits.train),)`, the labels it was trained on, when these are not the true ones.
        wrong: booleans `(len(splits.train),)`, which of the given labels are not the true ones.
        label_condition: "true", or how the labels were corrupted, as in "random:1.0".
        eps_grid: pixel units, from 0 up.
        headline_eps: the eps that is reported.
        norm: "linf" or "l2".
        attacks: that robust accuracy is the worst case over; FGSM joins them, and never judges alone.
        history: a row of metrics for every epoch.
        training_seconds: wall time of the training.
        gradient_passes: passes through the network made in training.
        task: "classification" or "regression".
        surrogate: another model of the same data, whose adversarial images are tried on this one: in a study the
            baseline of the same seed. Subjects that are given one `Surrogate` share its images. None for no such trial.
    """

    model: nn.Module
    splits: Splits
    seed: int = 0
    device: torch.device | str | None = None
    given_labels: Tensor | None = None
    wrong: Tensor | None = None
    label_condition: str = TRUE_LABELS
    eps_grid: Sequence[float] = (0.0,)
    headline_eps: float = 0.0
    norm: str = "linf"
    attacks: Sequence[Attack] = ()
    history: Sequence[Mapping[str, Any]] = ()
    training_seconds: float | None = None
    gradient_passes: int | None = None
    task: str = "classification"
    surrogate: nn.Module | Surrogate | None = None

    def __post_init__(self) -> None:
        here = device_of(self.model)
        wanted = here if self.device is None else torch.device(self.device)
        if wanted.type != here.type or wanted.index not in (None, here.index):
            object.__setattr__(self, "model", copy.deepcopy(self.model).to(wanted))
        object.__setattr__(self, "device", device_of(self.model))

    @cached_property
    def sibling(self) -> Surrogate | None:
        """The surrogate, on the device of the model; None where there is none, or it is the model itself."""
        if self.surrogate is None:
            return None
        found = self.surrogate if isinstance(self.surrogate, Surrogate) else Surrogate(self.surrogate)
        if device_of(found.model) != self.device:
            found = Surrogate(copy.deepcopy(found.model).to(self.device))
        return None if found.model is self.model else found

    @property
    def classifies(self) -> bool:
        """Whether the model is a classifier, so that accuracies mean something."""
        return self.task == "classification"

    @property
    def corrupted(self) -> bool:
        """Whether the model was trained on labels that are not the true ones."""
        return self.given_labels is not None or self.label_condition != TRUE_LABELS

    @cached_property
    def train_logits(self) -> Tensor:
        """The `(n, outputs)` outputs on the un-augmented training split, on the CPU."""
        return logits(self.model, self.splits.train).cpu()

    @cached_property
    def val_logits(self) -> Tensor:
        """The `(n, outputs)` outputs on the validation split, on the CPU."""
        return logits(self.model, self.splits.val).cpu()

    @cached_property
    def test_logits(self) -> Tensor:
        """The `(n, outputs)` outputs on the test split, on the CPU."""
        return logits(self.model, self.splits.test).cpu()

    @cached_property
    def attack_report(self) -> AttackReport | None:
        """What the attacks do on the test split; None for a model trained on corrupted labels, or no classifier."""
        if self.corrupted or not self.classifies or not len(self.splits.test):
            return None
        batches = list(self.splits.test.batches(None, BATCH, self.device))
        x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return evaluate_attacks(
            self.model,
            x,
            y,
            self.attacks,
            self.eps_grid,
            headline=self.headline_eps,
            norm=self.norm,
            seed=self.seed,
        )

    @cached_property
    def degraded_accuracy(self) -> dict[str, float] | None:
        """The accuracy on the first test images under each corruption of `measures.degraded`; None for a model trained
        on corrupted labels, no classifier, or inputs that are no images."""
        test = self.splits.test
        if self.corrupted or not self.classifies or not len(test) or len(test.shape) != 3:
            return None
        x, y = next(test.batches(None, DEGRADED, self.device))
        return accuracy_on_degraded(self.model, x, y, fold(seed_key(self.seed), "corruptions"))

    @cached_property
    def proved(self) -> Tensor | None:
        """Which test points are proved robust at the headline eps, booleans `(n,)` on the CPU; None in l2, where the
        model is not understood, and where there is no attack report."""
        if self.norm != "linf" or self.corrupted or not self.classifies or not len(self.splits.test):
            return None
        layers = layers_of(self.model)
        if not layers:
            return None
        device = next((device_of(layer) for layer in layers if layer.state_dict()), self.device)
        batches = self.splits.test.batches(None, BATCH, device)
        return torch.cat([proved(layers, x, y, self.headline_eps).cpu() for x, y in batches])

    @cached_property
    def trust(self) -> Trust:
        """Whether its numbers may be believed: flags, and the seconds they took."""
        return judge(self)


def share(which: Tensor) -> float | None:
    """Return the share of True in a boolean tensor; None of an empty one."""
    return float(which.to(torch.float64).mean()) if which.numel() else None
