"""Early stopping, with the best epoch restored."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..attacks import pgd
from ..errors import UsageError
from ..hookspecs import hookimpl
from ..inference import EVALUATION_BATCH, device_of, untraced
from ..regularizer import Knob, Regularizer

if TYPE_CHECKING:
    from ..data.split import Split

ROBUST = "robust"


def robust_accuracy(model: nn.Module, val: Split, eps: float, steps: int) -> float:
    """Return the share of a split that `model` gets right at every iterate of PGD in linf; `model` stays as it was.

    The start of an image is random, and the same whenever it is asked for, so that epochs are compared on equal terms.
    """
    right, seen, device = 0, 0, device_of(model)
    for x, y in val.batches(None, EVALUATION_BATCH, device):
        samples = torch.arange(seen, seen + len(x), device=device)
        found = pgd(model, x, y, eps=eps, steps=steps, samples=samples)
        with untraced(model), torch.inference_mode():
            right += int((model(found).argmax(-1) == y).sum())
        seen += len(x)
    return right / seen


class EarlyStopping(Regularizer):
    """Stop when validation has not improved for more than `strength` epochs, and keep the network of the best one.

    `monitor=robust` asks for the accuracy on validation images under a short PGD of budget `eps`: robustness overfits
    long before clean accuracy does, and selecting on the latter picks the wrong network. It costs `steps` passes over
    the validation images an epoch, which the run's count of passes leaves out.

    Expected: less memorization of wrong labels. `monitor=robust` beside adversarial training: the robustness of the
    best epoch instead of the last; of an undefended network it keeps one of the first epochs, before accuracy is there.
    On fully random labels any validation-based stopper is arbitrary.
    Prechelt, Early stopping - but when?, 1998; Rice et al, Overfitting in adversarially robust deep learning, 2020.
    """

    name = "early_stopping"
    kind = "schedule"
    strength = Knob(5, high=100_000, symbol="patience", doc="epochs without improvement allowed; 0 never stops")
    monitor = Knob("accuracy", choices=("accuracy", "nll", "error", ROBUST), doc="validation metric that must improve")
    min_delta = Knob(0.0, doc="smallest change that counts as an improvement")
    eps = Knob(2 / 16, high=1, doc="budget of the attack of monitor=robust in pixel units, in linf")
    steps = Knob(10, low=1, high=1000, doc="gradient steps of that attack")

    best_score: Tensor
    waited: Tensor

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        self.register_buffer("best_score", torch.tensor(-math.inf, dtype=torch.float64))
        self.register_buffer("waited", torch.tensor(0))
        self.best: nn.Module | None = None

    @hookimpl(trylast=True)
    def prepare(self, model: nn.Module) -> None:
        """Keep a copy of the network, as every other regularizer has prepared it, to hold the best weights."""
        if self.strength:
            self.best = copy.deepcopy(model).requires_grad_(False)

    @hookimpl
    def after_epoch(self, metrics: Mapping[str, float], model: nn.Module, val: Split | None) -> bool | None:
        """Remember the network if it is the best so far; return True when patience is over."""
        if self.best is None:
            return None
        score = self._score(metrics, model, val)
        if score > self.best_score + self.min_delta:
            self.best_score.fill_(score)
            self.waited.zero_()
            self.best.load_state_dict(model.state_dict())
        else:
            self.waited += 1
        return bool(self.waited > self.strength)

    def _score(self, metrics: Mapping[str, float], model: nn.Module, val: Split | None) -> float:
        if self.monitor == ROBUST:
            if not val or val.y.is_floating_point():
                raise UsageError(f"{self.name}: monitor={ROBUST} needs validation images with labels to attack")
            return robust_accuracy(model, val, float(self.eps), self.steps)
        key = f"val_{self.monitor}"
        if key not in metrics:
            known = ", ".join(name for name in metrics if name.startswith("val_")) or "none: there is no validation set"
            raise UsageError(f"{self.name}: monitor={self.monitor} needs the metric {key}; there are {known}")
        return metrics[key] if self.monitor == "accuracy" else -metrics[key]

    @hookimpl
    def finish(self, model: nn.Module) -> nn.Module:
        """Return the network with the weights of its best epoch."""
        if self.best is not None and math.isfinite(self.best_score):
            model.load_state_dict(self.best.state_dict())
        return model
