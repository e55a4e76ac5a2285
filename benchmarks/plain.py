"""The best plain loop a careful person would write: the other side of (b).

Everything is prepared before the clock starts: float32 images and int64 labels in memory. The optimizer is the fused
one, batches are index rows of one permutation, accuracies are computed once an epoch without a graph. The default arms
are written where a reader would look for them, in the loop.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Data:
    """Images in [0, 1] and labels to train on and to validate with."""

    x: Tensor
    y: Tensor
    val_x: Tensor
    val_y: Tensor


@dataclass(frozen=True)
class Arm:
    """Strengths of the default regularizers; 0 leaves one out."""

    l1: float = 0.0
    l2: float = 0.0
    dropout: float = 0.0
    shift: int = 0
    noise: float = 0.0
    smoothing: float = 0.0
    mixup: float = 0.0
    patience: int = 0
    cosine: bool = False
    fgsm: float = 0.0


DEFAULTS = {
    "none": Arm(),
    "l1": Arm(l1=1e-4),
    "l2": Arm(l2=1e-3),
    "dropout": Arm(dropout=0.5),
    "shift": Arm(shift=1),
    "input_noise": Arm(noise=0.15),
    "label_smoothing": Arm(smoothing=0.1),
    "mixup": Arm(mixup=1.0),
    "early_stopping": Arm(patience=5),
    "cosine": Arm(cosine=True),
    "fgsm_training": Arm(fgsm=2 / 16),
}


def train(
    build: Build, data: Data, *, seed: int, epochs: int, batch: int = 50, rate: float = 0.05, device: str = "cpu"
) -> tuple[float, float]:
    """Train one network without regularizers; return its last training and validation accuracy."""
    torch.manual_seed(seed)
    model = build().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, fused=True)
    x, y = data.x, data.y
    found = (0.0, 0.0)
    for _ in range(epochs):
        model.train()
        for at in torch.randperm(len(x), device=x.device).split(batch):
            loss = F.cross_entropy(model(x[at]), y[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        found = accuracy(model, x, y), accuracy(model, data.val_x, data.val_y)
    return found


def train_arm(build: Build, data: Data, arm: Arm, *, seed: int, epochs: int, batch: int = 50) -> tuple[float, float]:
    """Train one network under one default arm; return its last training and validation accuracy."""
    torch.manual_seed(seed)
    model = build()
    if arm.dropout:
        model = with_dropout(model, arm.dropout)
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=True)
    steps, step, best, waited = epochs * math.ceil(len(data.x) / batch), 0, -1.0, 0
    found, kept = (0.0, 0.0), None
    for _ in range(epochs):
        model.train()
        for at in torch.randperm(len(data.x)).split(batch):
            x, y = data.x[at], data.y[at]
            if arm.cosine:
                optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * step / steps)) / 2
            if arm.shift:
                x = shifted(x, arm.shift)
            if arm.noise:
                x = (x + arm.noise * torch.randn_like(x)).clamp_(0, 1)
            if arm.fgsm:
                x = x.requires_grad_()
                (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
                x = (x.detach() + arm.fgsm * gradient.sign()).clamp_(0, 1)
            if arm.mixup:
                share, other = float(torch.distributions.Beta(arm.mixup, arm.mixup).sample()), torch.randperm(len(x))
                logits = model(share * x + (1 - share) * x[other])
                loss = share * F.cross_entropy(logits, y) + (1 - share) * F.cross_entropy(logits, y[other])
            else:
                loss = F.cross_entropy(model(x), y, label_smoothing=arm.smoothing)
            if arm.l1:
                loss = loss + arm.l1 * sum(weight.abs().sum() for weight in weights)
            if arm.l2:
                loss = loss + arm.l2 * sum(weight.square().sum() for weight in weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        model.eval()
        found = accuracy(model, data.x, data.y), accuracy(model, data.val_x, data.val_y)
        if arm.patience:
            if found[1] > best:
                best, waited, kept = found[1], 0, copy.deepcopy(model.state_dict())
            else:
                waited += 1
            if waited > arm.patience:
                break
    if kept is not None:
        model.load_state_dict(kept)
        found = accuracy(model, data.x, data.y), accuracy(model, data.val_x, data.val_y)
    return found


def with_dropout(model: nn.Module, p: float) -> nn.Module:
    """Return the sequential network with dropout in front of every linear layer but the first."""
    layers: list[nn.Module] = []
    for layer in model.children():
        if isinstance(layer, nn.Linear) and any(isinstance(before, nn.Linear) for before in layers):
            layers.append(nn.Dropout(p))
        layers.append(layer)
    return nn.Sequential(*layers)


def shifted(x: Tensor, reach: int) -> Tensor:
    """Return each image moved by up to `reach` pixels in each direction, filled with 0."""
    count, _, height, width = x.shape
    padded = F.pad(x, [reach] * 4)
    down, right = torch.randint(2 * reach + 1, (2, count, 1))
    rows = (down + torch.arange(height))[:, None, :, None]
    columns = (right + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(count)[:, None, None, None], torch.arange(x.shape[1])[:, None, None], rows, columns]


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of images that are classified correctly."""
    with torch.inference_mode():
        return float((model(x).argmax(1) == y).float().mean())
