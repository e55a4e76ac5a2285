"""The test points that trust flags look at, and what is asked about them more than once."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...attacks.attack import Attack
from ...attacks.batching import BATCH
from ...attacks.gradients import input_gradient, outputs
from ...attacks.losses import AttackLoss
from ...attacks.noise import corner_noise, uniform_noise
from ...attacks.report import AttackReport
from ...attacks.square import square
from ...attacks.transfer import Surrogate, transfer
from ...inference import untraced
from .flag import Flag

if TYPE_CHECKING:
    from ..subject import Subject


@dataclass(frozen=True, eq=False)
class Question:
    """What a check asks by yielding it: which of some points does an attack break? The answer is their positions.

    Yielded instead of called, so that the same question about many models is one attack on all of them.

    Args:
        attack: any.
        at: int64 positions, ascending, of points of the evidence.
        eps: of the threat model; default the headline.
        norm: of the threat model; default the subject's.
    """

    attack: Attack
    at: Tensor
    eps: float | None = None
    norm: str | None = None


Asking = Generator[Question, Tensor, Flag | None]  # a check that attacks

SAMPLE = 200  # splits are in random order, so the first points are a fair sample; a share has an error below 4 points
BLACK_BOXES = (square, transfer, uniform_noise, corner_noise)  # they ask the model for no gradient


@dataclass(frozen=True, eq=False)
class Evidence:
    """The first `SAMPLE` test points of a subject, on its device."""

    subject: Subject

    @property
    def model(self) -> nn.Module:
        """The model judged."""
        return self.subject.model

    @property
    def report(self) -> AttackReport | None:
        """What the attacks of the protocol did on the whole test split; None where there was no attack."""
        return self.subject.attack_report

    @cached_property
    def judges(self) -> tuple[Attack, ...]:
        """The attacks that robust accuracy stands on; none without a headline eps above 0."""
        if self.report is None or not self.report.headline > 0:
            return ()
        return tuple(attack for attack in self.subject.attacks if not attack.weak)

    @cached_property
    def _points(self) -> tuple[Tensor, Tensor]:
        return next(self.subject.splits.test.batches(None, SAMPLE, self.subject.device))

    @property
    def x(self) -> Tensor:
        """Images `(n, *shape)`."""
        return self._points[0]

    @property
    def y(self) -> Tensor:
        """Labels, int64 `(n,)`."""
        return self._points[1]

    @cached_property
    def logits(self) -> Tensor:
        """The outputs `(n, classes)`."""
        return self.outputs(self.x)

    @cached_property
    def correct(self) -> Tensor:
        """Which points are right without an attack, booleans `(n,)`."""
        return self.logits.argmax(-1) == self.y

    @cached_property
    def standing(self) -> Tensor:
        """Positions of the points that no attack with gradients broke up to the headline eps, int64; FGSM is one."""
        assert self.report is not None
        blind = {attack.name for attack in self.subject.attacks if attack.run in BLACK_BOXES}
        found = [at for name, at in self.report.attack_broken_at.items() if name not in blind]
        stands = torch.stack(found).amin(0) > self.report.grid.index(self.report.headline)
        return stands[: len(self.y)].nonzero().squeeze(1).to(self.y.device)

    def outputs(self, x: Tensor) -> Tensor:
        """Return the model's outputs on `x`, in evaluation mode and without a trace."""
        with torch.inference_mode(False), untraced(self.model):
            return torch.cat([outputs(self.model, part) for part in x.split(BATCH)])

    def gradient(self, x: Tensor, loss: AttackLoss) -> Tensor:
        """Return the gradient of the loss by each of the images `x`, labelled as the points are."""
        with torch.inference_mode(False), untraced(self.model):
            return input_gradient(self.model, x.clone(), self.y, loss)[2]

    def transferred(self, surrogate: Surrogate, at: Tensor) -> Tensor:
        """Return which of the points at positions `at` the surrogate's adversarial images break, as positions."""
        if not len(at):
            return at
        known = {"eps": self.subject.headline_eps, "norm": self.subject.norm, "seed": self.subject.seed}
        moved = surrogate.images(self.x, self.y, at, **known)  # type: ignore[arg-type]
        return at[self.outputs(moved).argmax(-1) != self.y[at]]
