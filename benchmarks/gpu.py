"""(b) and (c) on a GPU, and what each of its tricks gives; without one it says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from robustreg.cohort import train_many
from robustreg.models import resnet18

from . import attacks, plain
from .measure import alternate, ratios
from .table import Table
from .training import build, digits

NAME = "gpu"


def run(
    *,
    models: Sequence[str] = ("mlp 64", "mlp 256", "cnn"),
    counts: Sequence[int] = (1, 64),
    rounds: int = 3,
    epochs: int = 5,
    batch: int = 128,
    device: str = "cuda",
) -> Table:
    """Time cohorts, attacks and variants of a training step on CUDA."""
    table = Table(NAME, "GPU: cohorts, attacks, and ways to make a step")
    if device == "cuda" and not torch.cuda.is_available():
        table.notes.append("There is no GPU on this machine; nothing was measured.")
        return table
    splits, data = digits(device)
    for model in models:
        for count in counts:
            some = min(count, 2)
            sides: dict[str, Callable[[], Any]] = {
                "plain": partial(_plain, model, data, some, epochs, device),
                "ours": partial(train_many, build(model), [], splits, seeds=range(count), epochs=epochs, device=device),
            }
            seconds = alternate(sides, rounds=rounds)
            table.add(what=f"{count} seeds, {model}", ratio=ratios(seconds["plain"], seconds["ours"], count / some))
    for row in attacks.run(rounds=rounds, attacks=("FGSM curve", "PGD-40", "APGD-100"), device=device).rows:
        table.add(what=f"{row['attack']}, {row['network']}, against {row['fastest_peer']}", ratio=row["ratio"])
    variants = steps(batch, device)
    seconds = alternate(variants, rounds=3 * rounds)
    for name in list(variants)[1:]:
        table.add(what=f"ResNet-18 step of {batch}: {name}", ratio=ratios(seconds["eager float32"], seconds[name]))
    table.notes.append("A ratio above 1 says how many times as fast; steps are against eager float32.")
    return table


def steps(batch: int, device: str, repeats: int = 20) -> dict[str, Callable[[], Any]]:
    """Return ways to make a training step of a ResNet-18 on 32x32 images, the plain one first."""
    x, y = torch.rand(batch, 3, 32, 32, device=device), torch.randint(10, (batch,), device=device)

    def step(*, wide: bool = True, last: bool = False, compiled: str = "") -> Callable[[], None]:
        torch.manual_seed(0)
        model: nn.Module = resnet18((3, 32, 32), 10).to(device)
        images = x.contiguous(memory_format=torch.channels_last) if last else x
        model = model.to(memory_format=torch.channels_last) if last else model
        optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9, fused=True)
        kind = torch.device(device).type

        def loss() -> torch.Tensor:
            with torch.autocast(kind, torch.bfloat16, enabled=not wide):
                return F.cross_entropy(model(images), y)

        found: Callable[[], torch.Tensor] = torch.compile(loss, mode=compiled) if compiled else loss

        def several() -> None:
            for _ in range(repeats):
                optimizer.zero_grad()
                found().backward()
                optimizer.step()

        return several

    return {
        "eager float32": step(),
        "channels last": step(last=True),
        "bf16 autocast": step(wide=False),
        "channels last and bf16": step(last=True, wide=False),
        "both, compiled": step(last=True, wide=False, compiled="default"),
        "both, compiled into CUDA graphs": step(last=True, wide=False, compiled="reduce-overhead"),
    }


def _plain(model: str, data: plain.Data, count: int, epochs: int, device: str) -> None:
    for seed in range(count):
        plain.train(build(model), data, seed=seed, epochs=epochs, device=device)
