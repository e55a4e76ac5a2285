"""Run several attacks over a grid of eps, each point no further than needed, and verify what they return."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..errors import PluginError, UsageError
from ..inference import untraced
from ..threat import ThreatModel
from .attack import Attack
from .batching import BATCH, check_points
from .fgsm import along
from .gradients import input_gradient, outputs
from .losses import scale_free
from .passes import Passes, counting
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
    chosen = _chosen(attacks, norm)
    grid = tuple(sorted({0.0, float(headline), *(float(eps) for eps in eps_grid)}))
    threats = [ThreatModel(norm, eps) for eps in grid]
    check_points(x, y, threats[0], batch_size)
    passes = {name: Passes() for name in (FGSM, *chosen)}
    with torch.inference_mode(False), untraced(model):
        x, y = x.detach().clone(), y.clone()
        with counting(model, passes[FGSM]):
            parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
            correct, useless = (
                torch.cat(found, -1) for found in zip(*(_fgsm(model, *part, threats) for part in parts), strict=True)
            )
        clean, never = correct[0], len(grid)
        # The first wrong FGSM image of each point; a point that is wrong without an attack is broken at 0.
        fgsm_at = torch.cat((~correct, torch.ones_like(correct[:1]))).to(torch.uint8).argmax(0)
        found_at = {FGSM: fgsm_at} | {name: torch.where(clean, never, 0) for name in chosen}
        broken_at = fgsm_at.clone()
        broken = {FGSM: ~(clean & correct[grid.index(headline)])} | dict.fromkeys(chosen, ~clean)
        for index, threat in enumerate(threats):
            for name, attack in chosen.items() if threat.eps > 0 else ():
                todo = clean if threat.eps == headline else broken_at > index
                with counting(model, passes[name]):
                    hit = _hits(model, x, y, todo.nonzero().squeeze(1), attack, threat, seed, batch_size)
                for at in (broken_at, found_at[name]):
                    at[hit] = at[hit].clamp(max=index)
                if threat.eps == headline:
                    broken[name] = broken[name].index_fill(0, hit, True)
    return AttackReport(
        norm=norm,
        grid=grid,
        headline=float(headline),
        clean=clean.cpu(),
        fgsm=correct.cpu(),
        headline_broken={name: which.cpu() for name, which in broken.items()},
        broken_at=broken_at.cpu(),
        attack_broken_at={name: at.cpu() for name, at in found_at.items()},
        useless_gradient=useless.cpu(),
        passes={name: count.per_sample(len(x)) for name, count in passes.items()},
        weak=(FGSM, *(name for name, attack in chosen.items() if attack.weak)),
    )


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


def _fgsm(model: nn.Module, x: Tensor, y: Tensor, threats: list[ThreatModel]) -> tuple[Tensor, Tensor]:
    """Which FGSM images of each eps `(len(threats), n)` are classified correctly; and which gradients are useless."""
    logits, _, gradient = input_gradient(model, x, y, scale_free)
    moved = torch.cat([along(threat, x, gradient) for threat in threats[1:]]) if len(threats) > 1 else x[:0]
    said = [logits.argmax(-1), *(outputs(model, part).argmax(-1) for part in moved.split(BATCH) if len(part))]
    flat = gradient.reshape(len(x), -1)
    useless = (flat == 0).all(1) | ~flat.isfinite().all(1)
    return torch.cat(said).reshape(len(threats), -1) == y, useless


def _hits(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    todo: Tensor,
    attack: Attack,
    threat: ThreatModel,
    seed: int,
    batch_size: int,
) -> Tensor:
    """The positions in `todo` that the attack breaks, verified."""
    hits = [todo[:0]]
    for at in todo.split(batch_size) if len(todo) else ():
        clean = x[at]
        moved = attack(model, clean, y[at], eps=threat.eps, norm=threat.norm, seed=seed, samples=at)
        if moved.shape != clean.shape or not threat.contains(moved, clean).all():
            raise PluginError(
                f"attack {attack.name!r} returned images outside its threat model ({threat.norm}, eps {threat.eps:g}, "
                f"box [{threat.low:g}, {threat.high:g}]); it must return what threat.project() allows"
            )
        hits.append(at[outputs(model, moved).argmax(-1) != y[at]])
    return torch.cat(hits)
