"""Run several attacks over a grid of eps, each point no further than needed, and verify what they return."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..inference import untraced
from ..pooling import swift_pools
from ..threat import ThreatModel
from .attack import Attack
from .batching import BATCH, check_points
from .fgsm import along
from .gradients import input_gradient, outputs
from .group import Group
from .losses import scale_free
from .passes import Passes, tallied
from .points import Points
from .report import AttackReport

FGSM = "fgsm"


def evaluate_attacks(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attacks: Iterable[Attack],
    eps_grid: Sequence[float],
    *,
    headline: float,
    norm: str = "linf",
    seed: int = 0,
    batch_size: int = BATCH,
) -> AttackReport:
    """Attack every point at every eps and report who withstood what.

    FGSM is always run, at every eps from one gradient, and whatever it breaks is broken. At the headline eps every
    attack runs on every correctly classified point, so that attacks can be compared; at the others, smallest first,
    only on points that nothing broke yet. What an attack returns is verified and classified again here.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, on the device of the model.
        y: int64 labels `(n,)`.
        attacks: beside FGSM.
        eps_grid: pixel units; 0 and the headline join it.
        headline: the eps that is reported.
        norm: "linf" or "l2".
        seed: decides what is random in the attacks.
        batch_size: points at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, two attacks of one name, or a norm an attack
            does not know.
        PluginError: for an attack that leaves its threat model.
    """
    knobs = {"headline": headline, "norm": norm, "batch_size": batch_size}
    return evaluate_together([model], [x], [y], attacks, eps_grid, seeds=[seed], **knobs)[0]  # type: ignore[arg-type]


def evaluate_together(
    models: Sequence[nn.Module],
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    attacks: Iterable[Attack],
    eps_grid: Sequence[float],
    *,
    headline: float,
    seeds: Sequence[int],
    norm: str = "linf",
    batch_size: int = BATCH,
) -> list[AttackReport]:
    """Return for each of K models of one architecture what `evaluate_attacks` returns of it, in less time.

    A report is that of its model alone: randomness is keyed by seed and sample, and a network's answers do not hang on
    its company (on a CPU bit for bit for chains of linear layers of widths that 4 divides, elsewhere up to rounding).
    An attack that is not `together` runs model by model.

    Args:
        models: on one device; left as they were.
        x: of each model its clean images `(n_k, *shape)`.
        y: of each model its labels `(n_k,)`.
        seeds: of each model.
        batch_size: points of each model at once.

    The other arguments, and errors, are those of `evaluate_attacks`.
    """
    chosen = _chosen(attacks, norm)
    grid = tuple(sorted({0.0, float(headline), *(float(eps) for eps in eps_grid)}))
    threats = [ThreatModel(norm, eps) for eps in grid]
    for images, labels in zip(x, y, strict=True):
        check_points(images, labels, threats[0], batch_size)
    with torch.inference_mode(False), ExitStack() as stack:
        for model in models:
            stack.enter_context(untraced(model))
        group = Group.of(models, x, y, seeds)
        stack.enter_context(swift_pools(group.siblings))
        passes = {name: [Passes() for _ in models] for name in (FGSM, *chosen)}
        with tallied(group.siblings, passes[FGSM]):
            logits, correct, useless = _fgsm(group.points, threats, batch_size * len(models))
        group.siblings.remember(group.points.x, logits)
        clean, never = correct[0], len(grid)
        # The first wrong FGSM image of each point; a point that is wrong without an attack is broken at 0.
        fgsm_at = torch.cat((~correct, torch.ones_like(correct[:1]))).to(torch.uint8).argmax(0)
        found_at = {FGSM: fgsm_at} | {name: torch.where(clean, never, 0) for name in chosen}
        broken_at = fgsm_at.clone()
        broken = {FGSM: ~(clean & correct[grid.index(headline)])} | dict.fromkeys(chosen, ~clean)
        for index, threat in enumerate(threats):
            for name, attack in chosen.items() if threat.eps > 0 else ():
                todo = clean if threat.eps == headline else broken_at > index
                hit = group.hits(todo.nonzero().squeeze(1), attack, threat, passes[name], batch_size)
                for at in (broken_at, found_at[name]):
                    at[hit] = at[hit].clamp(max=index)
                if threat.eps == headline:
                    broken[name] = broken[name].index_fill(0, hit, True)
    whole = AttackReport(
        norm=norm,
        grid=grid,
        headline=float(headline),
        clean=clean.cpu(),
        fgsm=correct.cpu(),
        headline_broken={name: which.cpu() for name, which in broken.items()},
        broken_at=broken_at.cpu(),
        attack_broken_at={name: at.cpu() for name, at in found_at.items()},
        useless_gradient=useless.cpu(),
        passes={},
        weak=(FGSM, *(name for name, attack in chosen.items() if attack.weak)),
    )
    counted = [{name: tally[number] for name, tally in passes.items()} for number in range(len(models))]
    return whole.split(group.siblings.sizes, counted)


def _chosen(attacks: Iterable[Attack], norm: str) -> dict[str, Attack]:
    chosen: dict[str, Attack] = {}
    for attack in attacks:
        if attack.name in chosen:
            raise UsageError(f"two attacks are called {attack.name!r}; give one of them another name")
        if norm not in attack.norms:
            raise UsageError(f"attack {attack.name!r} knows the norms {', '.join(attack.norms)}, not {norm!r}")
        if attack.name != FGSM:  # runs always
            chosen[attack.name] = attack
    return chosen


def _fgsm(points: Points, threats: list[ThreatModel], batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The clean logits, which FGSM images of each eps `(len(threats), n)` are right, and whose gradient is useless."""
    found = []
    for part in points.split(batch_size):
        logits, _, gradient = input_gradient(part.model, part.x, part.y, scale_free)
        steepest = threats[0].steepest(gradient)
        moved = (along(threat, part.x, steepest) for threat in threats[1:])
        said = [logits.argmax(-1), *(outputs(part.model, image).argmax(-1) for image in moved if len(image))]
        flat = gradient.reshape(len(gradient), math.prod(gradient.shape[1:]))
        largest = flat.abs().amax(1) if flat.numel() else flat.new_zeros(len(flat))
        useless = ~((largest > 0) & (largest < math.inf))  # NaN, too
        found.append((logits.T, torch.stack(said).expand(len(threats), -1) == part.y, useless))
    logits, correct, useless = (torch.cat(parts, -1) for parts in zip(*found, strict=True))
    return logits.T, correct, useless
