"""Free adversarial training: replayed batches, and a perturbation that goes from step to step."""

import torch
from torch import Tensor, nn

from robustreg import Knob, Regularizer, hookimpl
from robustreg.errors import RobustregError, UsageError
from robustreg.hookspecs import Fit, Loss


class _Seen(RobustregError):
    """Ends a training at its first batch, which it carries."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__("a training was started to see its first batch")
        self.x, self.y = x, y


class _Look(Regularizer):
    """Ends a training at its first batch."""

    name = "look"

    @hookimpl
    def batch(self, x: Tensor, y: Tensor) -> None:
        """End it."""
        raise _Seen(x, y)


class FreeTraining(Regularizer):
    """Learn from each image `replays` steps in a row, moved by a perturbation that grows from step to step.

    A batch has slots. Each holds an image, its label and a perturbation d: the step learns from x + d, and then
    d = clamp(d + `strength` * sign(gradient of the loss at x + d), -`strength`, `strength`); x + d stays in [0, 1].
    Every `replays` steps the slots take the batch that comes, and keep their d, as in the paper.

    It differs from the paper in what a step costs and in what an epoch is. A hook is not given the gradient by the
    images that the backward pass finds anyway, so it is computed a second time: a step costs that of FGSM training,
    and "free" are the replays alone. And an epoch has as many steps as ever: it learns from a `replays`-th of the
    batches, drawn anew each epoch, where the paper learns from all of them in a `replays`-th of the epochs.

    Expected: robust accuracy near that of PGD training of few steps; clean accuracy down; with many replays and few
    epochs too few images are seen.
    Shafahi et al, Adversarial training for free!, 2019 (replays 8).
    """

    name = "free_training"
    kind = "adversarial"
    strength = Knob(2 / 16, high=1, symbol="eps", doc="budget of the perturbation in pixel units, and its step")
    replays = Knob(8, low=1, high=1000, doc="steps in a row that learn from the same images")

    image: Tensor
    label: Tensor
    change: Tensor
    steps: Tensor

    @hookimpl
    def prepare(self, model: nn.Module, fit: Fit) -> None:
        """Make the slots, as many as a batch has images."""
        try:
            fit(model, _Look())
        except _Seen as seen:
            slots = {"image": seen.x, "label": seen.y, "change": seen.x}
        else:
            raise UsageError(f"{self.name}: there is nothing to train on")
        for name, like in slots.items():
            self.register_buffer(name, torch.zeros_like(like))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @hookimpl(trylast=True)
    def batch(self, x: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Return the perturbed images of the slots, and move the perturbation for the next step."""
        count, eps = len(x), self.strength.to(x.dtype)
        if count > len(self.image):
            raise UsageError(f"{self.name}: a batch has {len(self.image)} images, got {count}")
        fresh = (self.steps % self.replays == 0) | (self.strength == 0)
        image = torch.where(fresh, x, self.image[:count])
        label = torch.where(fresh, y, self.label[:count])
        attacked = (image + self.change[:count]).clamp(0, 1)
        with torch.no_grad():
            slope = torch.func.grad(lambda images: loss(images, label))(attacked)
            change = (self.change[:count] + eps * slope.sign()).clamp(-eps, eps)
        for slots, new in ((self.image, image), (self.label, label), (self.change, change)):
            slots[:count].copy_(new)
        self.steps.add_(1)
        return attacked, label
