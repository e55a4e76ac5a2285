"""The trained networks that attacks are timed on, and the points they are attacked at."""

from __future__ import annotations

from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

import robustreg as rr
from robustreg.models import cnn, mlp
from robustreg.regularizers import FGSMTraining

HEADLINE = 2 / 16  # of the digits


class Victim(NamedTuple):
    """A network in evaluation mode and points that it was not trained on."""

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor


@cache
def victim(name: str, *, epochs: int = 40, points: int = 797, device: str = "cpu") -> Victim:
    """Return a digits network: "weak mlp" and "weak cnn" are trained plainly, "robust mlp" against FGSM at 2/16."""
    build = partial(cnn if name.endswith("cnn") else mlp, (1, 8, 8), 10)
    splits = rr.load_data("digits", seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    members = [FGSMTraining(HEADLINE)] if name.startswith("robust") else []
    run = rr.train(model, members, splits, seed=0, epochs=epochs, device=device)
    parts = [next(part.batches(None, len(part), device)) for part in (splits.test, splits.val)]
    x, y = (torch.cat(column)[:points] for column in zip(*parts, strict=True))
    return Victim(name, run.model.requires_grad_(True), x, y)
