"""How steep a model is in its inputs and in its weights, and how far its decisions reach."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..attacks.batching import BATCH
from ..attacks.gradients import input_gradient
from ..attacks.losses import AttackLoss, cross_entropy, margin
from ..inference import untraced
from .measure import Measure
from .subject import Subject

RHO = 0.05
MOST = 2000  # training images that sharpness looks at
AT_ONCE = 500  # of them in one pass, which keeps their activations


def sharpness(model: nn.Module, x: Tensor, y: Tensor, *, rho: float = RHO) -> float:
    """Return L(w + rho g / ||g||) - L(w) with g the gradient of the mean cross-entropy L by all weights together.

    The first-order stand-in for the largest rise of L within distance `rho` of the weights, as sharpness-aware
    training uses it. Evaluation mode; the model is left as it was. 0 where the gradient is.

    Args:
        model: from `(n, *shape)` to `(n, classes)` logits.
        x: images `(n, *shape)`, on the device of the model.
        y: int64 labels `(n,)`.
        rho: length of the step in the space of the weights.

    Foret et al, Sharpness-aware minimization for efficiently improving generalization, 2021.
    """
    parts = list(zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True))
    with torch.inference_mode(False), untraced(model), torch.enable_grad():
        weights = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
        slopes = {name: torch.zeros_like(value) for name, value in weights.items()}
        here = _loss(model, weights, parts, len(y), slopes)
        length = float(sum(float(slope.double().square().sum()) for slope in slopes.values())) ** 0.5
        if not length:
            return 0.0
        moved = {name: value.detach() + rho / length * slopes[name] for name, value in weights.items()}
        return _loss(model, moved, parts, len(y)) - here


def _loss(
    model: nn.Module,
    weights: dict[str, Tensor],
    parts: list[tuple[Tensor, Tensor]],
    count: int,
    slopes: dict[str, Tensor] | None = None,
) -> float:
    """The mean cross-entropy at these weights; its gradient by them is added to `slopes`, where these are given."""
    total = 0.0
    for x, y in parts:
        loss = F.cross_entropy(functional_call(model, weights, (x.clone(),)), y.clone(), reduction="sum") / count
        total += float(loss.detach().double())
        if slopes is not None and loss.requires_grad:
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for name, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    slopes[name] += gradient
    return total


def _gradients(subject: Subject, loss: AttackLoss) -> tuple[Tensor, Tensor] | None:
    """Losses `(n,)` of the test points and their input gradients `(n, pixels)`; None where there are none."""
    if subject.corrupted or not subject.classifies or not len(subject.splits.test):
        return None
    found = []
    with torch.inference_mode(False), untraced(subject.model):
        for x, y in subject.splits.test.batches(None, BATCH, subject.device):
            found.append(input_gradient(subject.model, x.clone(), y.clone(), loss)[1:])
    losses, gradients = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    return losses, gradients.flatten(1)


def input_gradient_norm(subject: Subject) -> float | None:
    """Return the mean l1 norm, over test points, of the gradient of the cross-entropy by the pixels.

    To first order, FGSM at eps raises the loss by eps times this. It falls to 0 where cross-entropy saturates, which
    is no robustness. None for a model trained on corrupted labels.

    Simon-Gabriel et al, First-order adversarial vulnerability of neural networks and input dimension, 2019.
    """
    found = _gradients(subject, cross_entropy)
    return None if found is None else float(found[1].double().abs().sum(1).mean())


def first_order_margin(subject: Subject) -> float | None:
    """Return the median over test points of the logit margin divided by the dual norm of its gradient.

    To first order the distance to the decision boundary, in the norm of the subject and in pixel units; negative
    where the label has lost. Points without a usable gradient are left out. None for a model trained on corrupted
    labels.

    Elsayed et al, Large margin deep networks for classification, 2018.
    """
    found = _gradients(subject, margin)
    if found is None:
        return None
    lost, gradient = (part.double() for part in found)
    slope = torch.linalg.vector_norm(gradient, ord=2 if subject.norm == "l2" else 1, dim=1)
    distance = (-lost / slope)[(slope > 0) & slope.isfinite() & lost.isfinite()]
    return float(distance.quantile(0.5)) if len(distance) else None


def training_sharpness(subject: Subject) -> float | None:
    """Return `sharpness` at rho 0.05 on up to 2,000 training images, with the labels the model was trained on."""
    train = subject.splits.train
    if not subject.classifies or not len(train):
        return None
    if subject.given_labels is not None:
        train = train.with_labels(subject.given_labels)
    return sharpness(subject.model, *next(train.batches(None, MOST, subject.device)))


def per_class_accuracy(subject: Subject) -> dict[str, float] | None:
    """Return the accuracy on the test images of each class, by its name; classes without test images are left out."""
    test = subject.splits.test
    if not subject.classifies or not len(test):
        return None
    right, y = (subject.test_logits.argmax(-1) == test.y.cpu()).double(), test.y.cpu()
    return {subject.splits.classes[label]: float(right[y == label].mean()) for label in y.unique().tolist()}


MEASURES = (
    Measure("per_class_accuracy", per_class_accuracy, True, "Accuracy on the test images of each class, in [0, 1]."),
    Measure(
        "input_gradient_norm",
        input_gradient_norm,
        None,
        "Mean l1 norm of the gradient of the test loss by the pixels: nats per unit of eps, to first order.",
    ),
    Measure(
        "margin",
        first_order_margin,
        True,
        "Median first-order distance of the test images to the decision boundary, in pixel units of the norm.",
    ),
    Measure(
        "sharpness",
        training_sharpness,
        None,
        "Rise of the training loss one step of length 0.05 up its gradient in the weights, in nats.",
    ),
)
