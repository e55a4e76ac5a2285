"""Distillation: a network learns what another one says."""

from __future__ import annotations

import copy
from hashlib import sha256
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..hookspecs import Fit, hookimpl
from ..regularizer import Knob, Regularizer, scaled
from .divergence import divergence

KD, DEFENSIVE = "kd", "defensive"
TEMPERATURES = {KD: 4.0, DEFENSIVE: 20.0}


def cross_entropy(rows: Tensor, logits: Tensor) -> Tensor:
    """Return the mean cross-entropy of `(batch, classes)` logits against rows that are distributions."""
    return -(rows * logits.log_softmax(-1)).sum(-1).mean()


class Heated(Regularizer):
    """Train at a temperature: T times the cross-entropy of softmax(z / T), in the place of that of softmax(z).

    Papernot et al, Distillation as a defense to adversarial perturbations against deep neural networks, 2016.
    """

    name = "heated"
    strength = Knob(20.0, low=1, symbol="T", doc="temperature")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    @hookimpl
    def penalty(self, y: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Return what the loss at this temperature has more than the loss."""
        hot = scaled(self.strength, cross_entropy(y, logits / self.strength.to(logits.dtype)))
        return {self.name: hot - cross_entropy(y, logits)}


class Distillation(Regularizer):
    """Learn from the softened answers of a teacher, a network of the same kind that is trained first.

    Formula: (1 - strength) * CE(y, z) + strength * c * KL(softmax(t / T) || softmax(z / T)), t and z the logits of
    teacher and student. `mode=kd`: c = T**2, T = 4; the teacher is trained as usual. `mode=defensive`: c = T, T = 20
    and strength 1 unless something else is said; the teacher is trained at temperature T, too, and the student is used
    at temperature 1. A teacher is trained on the same data by the same recipe, from the same weights, by no other
    regularizer; `teacher=` takes a trained network of your own instead, in Python. At strength 0 there is none.

    Expected: of `kd`, clean accuracy the same or up a little, more so with a better teacher; wrong labels memorized a
    little less, random ones as before; robust accuracy unchanged. Of `defensive`, clean accuracy hardly changed, wrong
    labels memorized a little less, and FGSM and PGD on the cross-entropy fail because their gradients are 0 in floating
    point: an attack on the margin of the logits breaks it completely. Twice the training.
    Hinton et al, Distilling the knowledge in a neural network, 2015; Papernot et al, Distillation as a defense to
    adversarial perturbations against deep neural networks, 2016; broken by Carlini and Wagner, Towards evaluating the
    robustness of neural networks, 2017.

    Args:
        strength: the weight of the teacher.
        teacher: a trained network; it is copied and not changed. Unless `name` says another one, the regularizer is
            then called `distillation-` and a hash of the teacher.
        **knobs: the other declared knobs.
    """

    name = "distillation"
    kind = "labels and outputs"
    strength = Knob(0.9, high=1, symbol="alpha", doc="weight of the teacher's term; 1 in mode=defensive if not said")
    mode = Knob(KD, choices=(KD, DEFENSIVE), doc="to learn better, or to hide the gradient")
    temperature = Knob(4.0, low=1, symbol="T", doc="what logits are divided by; 20 in mode=defensive if not said")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(self, strength: float | None = None, *, teacher: nn.Module | None = None, **knobs: object) -> None:
        if knobs.get("mode") == DEFENSIVE:
            strength = 1.0 if strength is None else strength
        if knobs.get("temperature") is None:
            knobs["temperature"] = TEMPERATURES.get(str(knobs.get("mode")), TEMPERATURES[KD])
        if teacher is not None and not isinstance(teacher, nn.Module):
            raise UsageError(f"{self.name}: teacher must be a network, got {type(teacher).__name__}")
        if teacher is not None and knobs.get("name") is None:
            knobs["name"] = f"{self.name}-{_fingerprint(teacher)}"  # a study must not take one teacher for another
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        self.teacher = None if teacher is None or not self.strength else _frozen(copy.deepcopy(teacher))

    def train(self, mode: bool = True) -> Distillation:
        """Set the training mode, which the teacher does not follow."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    @hookimpl
    def prepare(self, model: nn.Module, fit: Fit) -> None:
        """Train the teacher, unless there is one."""
        if self.teacher is None and self.strength:
            hot = [Heated(float(self.temperature))] if self.mode == DEFENSIVE else []
            self.teacher = _frozen(fit(model, *hot))

    @hookimpl
    def penalty(self, x: Tensor, y: Tensor, logits: Tensor) -> dict[str, Tensor] | None:
        """Return what the distillation loss has more than the loss."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            said = self.teacher(x)
        factor = self.temperature.square() if self.mode == KD else self.temperature
        heat = self.temperature.to(logits.dtype)
        soft = scaled(factor, divergence(said / heat, logits / heat))
        return {self.name: scaled(self.strength, soft - cross_entropy(y, logits))}


def _fingerprint(model: nn.Module) -> str:
    found = sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        found.update(name.encode() + value.detach().cpu().double().numpy().tobytes())
    return found.hexdigest()[:8]


def _frozen(model: nn.Module) -> nn.Module:
    model.zero_grad()  # the gradients of its last step, which would be kept for nothing
    return model.requires_grad_(False).eval()
