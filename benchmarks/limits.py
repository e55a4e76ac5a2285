"""(e) How far from this machine's limit: arithmetic against its matrix products, bytes against its copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustreg.attacks import pgd
from robustreg.attacks.passes import Passes, counting

from . import plain
from .attacks import VICTIMS
from .measure import alternate, default_threads, threads
from .table import Table
from .training import build, digits, many
from .victims import HEADLINE, Victim, victim

FLOAT = 4  # bytes
BATCH = 50


def run(
    *,
    models: Sequence[str] = ("mlp 32", "mlp 128", "mlp 256", "cnn"),
    count: int = 16,
    epochs: int = 5,
    rounds: int = 3,
    sizes: Sequence[int] = (256, 1024, 2048),
    victims: Sequence[str] = VICTIMS,
    trained: int = 40,
    points: int = 797,
) -> Table:
    """Measure both limits, then the share of them that trainings and PGD reach."""
    table = Table("limits", "(e) Distance from the limit")
    flops, copies = machine_limits(sizes, rounds)
    for cores, rate in flops.items():
        table.notes.append(
            f"{cores} thread{'s' * (cores > 1)}: {rate / 1e9:.4g} GFLOP/s in float32 products of square"
            f" matrices (the best of {', '.join(map(str, sizes))} rows),"
            f" {copies[cores] / 1e9:.3g} GB/s copied (read and written)."
        )
    limit = flops[1], copies[1]
    for name in models:
        steps = epochs * 20
        done = count * epochs * training_flops(name)
        moved = count * steps * step_bytes(build(name)(), (1, 8, 8))
        splits, data = digits()
        with threads(1):
            sides: dict[str, Callable[[], Any]] = {
                "plain loop": partial(_plain, name, data, count, epochs),
                "ours": partial(many, name, count, epochs, splits),
            }
            seconds = alternate(sides, rounds=rounds)
        for side, taken in seconds.items():
            _add(table, f"{count} trainings, {name}", side, min(taken), done, moved, limit)
    for name in victims:
        _attack(table, victim(name, epochs=trained, points=points), rounds, limit)
    table.notes += [
        "Shares are of the limits of one thread. Operations are counted by torch.utils.flop_counter in one step"
        " (forward and backward of a batch, and the two looks an epoch); what an attack leaves out is not counted.",
        "Bytes are a lower bound: each weight is read twice a step, its gradient written and read, and the optimizer"
        " reads and writes weight and momentum; each activation is written once and read twice. Most of them stay in"
        " the caches, so the share of the copy rate says that memory is not what limits here.",
        "Where the rest goes: a step of a small network is some fifty calls into torch of 1 to 5 microseconds each, of"
        " products that are too narrow to fill the vector units; stacking runs makes fewer and larger calls,"
        " and what is left is element-wise work (ReLU, loss, update) and the batched products' lower rate. Wide"
        " networks and convolutions come closer to the limit by themselves, so that stacking gains little there.",
    ]
    return table


def machine_limits(sizes: Sequence[int], rounds: int) -> tuple[dict[int, float], dict[int, float]]:
    """Return for 1 and for all threads the operations a second of matrix products and the bytes a second of copies."""
    squares = [(torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)) for size in sizes]
    big = torch.randn(max(sizes) ** 2 * 4)
    target = torch.empty_like(big)
    flops, copies = {}, {}
    for count in sorted({1, default_threads()}):
        sides: dict[str, Callable[[], Any]] = {
            str(len(one)): partial(torch.mm, one, other, out=out) for one, other, out in squares
        }
        with threads(count):
            seconds = alternate({**sides, "copy": partial(target.copy_, big)}, rounds=5 * rounds)
        flops[count] = max(2 * size**3 / min(seconds[str(size)]) for size in sizes)
        copies[count] = 2 * FLOAT * big.numel() / min(seconds["copy"])
    return flops, copies


def training_flops(name: str) -> int:
    """Return the operations of one epoch on 1,000 images, counted in one batch and one look."""
    model = build(name)()
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(BATCH, 1, 8, 8)).sum().backward()
    step = counter.get_total_flops()
    return 20 * step + look_flops(model, 1297)


def look_flops(model: nn.Module, images: int) -> int:
    """Return the operations of a forward pass over so many digits."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(BATCH, 1, 8, 8))
    return counter.get_total_flops() * images // BATCH


def step_bytes(model: nn.Module, shape: Sequence[int]) -> int:
    """Return the fewest bytes that one step of SGD with momentum touches."""
    activations: list[int] = []
    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, output: activations.append(output.numel()))
        for layer in model.modules()
        if not list(layer.children())
    ]
    with torch.no_grad():
        model(torch.rand(BATCH, *shape))
    for handle in handles:
        handle.remove()
    weights = sum(parameter.numel() for parameter in model.parameters())
    return FLOAT * (9 * weights + 3 * sum(activations))


def _plain(name: str, data: plain.Data, count: int, epochs: int) -> None:
    for seed in range(count):
        plain.train(build(name), data, seed=seed, epochs=epochs)


def _attack(table: Table, of: Victim, rounds: int, limit: tuple[float, float]) -> None:
    def ours() -> None:
        pgd(of.model, of.x, of.y, eps=HEADLINE, steps=40)

    count = Passes()
    with threads(1):
        taken = min(alternate({"ours": ours}, rounds=3 * rounds)["ours"])
        with counting(of.model, count):
            ours()
    # To its input a layer sends a gradient back with as many operations as it takes forward.
    flops = int(count.forward + count.backward) * look_flops(of.model, BATCH) // BATCH
    _add(table, f"PGD-40, {of.name}", "ours", taken, flops, None, limit)


def _add(
    table: Table, work: str, side: str, seconds: float, flops: int, moved: int | None, limit: tuple[float, float]
) -> None:
    table.add(
        work=work,
        side=side,
        seconds=seconds,
        GFLOP=flops / 1e9,
        share_of_product_rate=flops / seconds / limit[0],
        GB=None if moved is None else moved / 1e9,
        share_of_copy_rate=None if moved is None else moved / seconds / limit[1],
    )
