"""(c) Attacks against the fastest library that does the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from robustreg.attacks import apgd, autoattack, evaluate_attacks, pgd
from robustreg.attacks.passes import Passes, counting

from . import peers
from .measure import alternate, ratios, threads, timed
from .peers import Side, stands
from .table import Table
from .victims import HEADLINE, Victim, victim

GRID = tuple(k / 32 for k in range(1, 9))
VICTIMS = ("weak mlp", "robust mlp", "weak cnn")
SLOW = 1.5  # a peer that takes this many times as long as the fastest one in a trial is not run again
LONG = 0.5  # seconds; what takes longer is not tried a second time before the rounds, and has two rounds
FEW = 200  # points for the ensemble

Both = tuple[Side, dict[str, Side]]


def run(
    *,
    victims: Sequence[str] = VICTIMS,
    attacks: Sequence[str] | None = None,
    points: int = 797,
    rounds: int = 5,
    epochs: int = 40,
    device: str = "cpu",
) -> Table:
    """Time every attack on every network, one thread each, and compare what is left standing point by point."""
    table = Table("attacks", "(c) Attacks against the fastest peer")
    with threads(1):
        for name in victims:
            of = victim(name, epochs=epochs, points=points, device=device)
            for attack in attacks or ATTACKS:
                few = attack == "ensemble"
                _compare(table, attack, of._replace(x=of.x[:FEW], y=of.y[:FEW]) if few else of, rounds)
    table.notes += [
        f"Digits, {points} points that the networks were not trained on; eps is 2/16 unless said, in the"
        " FGSM curve 1/32 to 8/32. One thread for both sides, all points in one batch.",
        "`fewer passes`: samples that the peer sends through the network, forward and backward, for one of ours. Ours"
        " would be so many times as fast if a pass cost both the same; an attack that needs the gradient of every point"
        " that still stands cannot do with fewer.",
        "`agreement`: share of points (FGSM: of points and eps) on which both sides say the same. Where starts are"
        " random they differ between libraries, and ours counts every iterate while PGD elsewhere counts the last.",
        f"The ensemble is Auto-PGD, targeted Auto-PGD on nine classes and Square with 5,000 queries, on {FEW} points;"
        " Foolbox and ART have none of these members.",
        "Only peers that were close to the fastest one in a trial take part in the rounds; the trial's seconds of the"
        " others are listed.",
    ]
    return table


def fgsm_curve(of: Victim) -> Both:
    """FGSM at eight eps."""

    def ours() -> torch.Tensor:
        return evaluate_attacks(of.model, of.x, of.y, [], GRID, headline=HEADLINE).fgsm[1:]

    return ours, peers.fgsm_curve(of.model, of.x, of.y, GRID)


def pgd40(of: Victim, eps: float = HEADLINE) -> Both:
    """PGD of 40 steps."""
    attack = _ours(of, lambda *points: pgd(*points, eps=eps, steps=40))
    return attack, peers.pgd40(of.model, of.x, of.y, eps)


def apgd100(of: Victim, eps: float = HEADLINE) -> Both:
    """Auto-PGD of 100 steps."""
    attack = _ours(of, lambda *points: apgd(*points, eps=eps, steps=100))
    return attack, peers.apgd100(of.model, of.x, of.y, eps)


def ensemble(of: Victim) -> Both:
    """Auto-PGD, targeted Auto-PGD and Square."""
    attack = _ours(of, lambda *points: autoattack(*points, eps=HEADLINE))
    return attack, peers.ensemble(of.model, of.x, of.y, HEADLINE)


ATTACKS: dict[str, Callable[[Victim], Both]] = {
    "FGSM curve": fgsm_curve,
    "PGD-40": pgd40,
    "APGD-100": apgd100,
    "PGD-40 at 4/16": partial(pgd40, eps=4 / 16),
    "APGD-100 at 4/16": partial(apgd100, eps=4 / 16),
    "ensemble": ensemble,
}


def target(attack: str, victim: str) -> float | None:
    """Return how many times as fast the issue wants it."""
    if attack == "FGSM curve":
        return 2.5
    if attack == "ensemble":
        return None
    return 5.0 if victim.startswith("weak") else 1.5


def _ours(of: Victim, attack: Callable[..., torch.Tensor]) -> Side:
    return lambda: stands(of.model, attack(of.model, of.x, of.y), of.y)


def _compare(table: Table, attack: str, of: Victim, rounds: int) -> None:
    ours, theirs = ATTACKS[attack](of)
    left, others, trial = ours(), {}, {}
    for name, side in theirs.items():
        started = time.perf_counter()
        others[name] = side()  # the outcome, and the warm-up
        trial[name] = time.perf_counter() - started
        if trial[name] < LONG:
            trial[name] = timed(side)
    if not trial:
        table.notes.append(f"{attack}: no peer is installed.")
        return
    rounds = rounds if min(trial.values()) < LONG else min(rounds, 2)
    close = {name: side for name, side in theirs.items() if trial[name] <= SLOW * min(trial.values())}
    seconds = alternate({"ours": ours, **close}, rounds=rounds, warm=False)
    fastest = min(close, key=lambda name: sorted(seconds[name])[rounds // 2])
    slower = ", ".join(f"{name} {trial[name]:.3g} s" for name in trial if name != fastest)
    table.add(
        network=of.name,
        attack=attack,
        fastest_peer=fastest,
        ratio=ratios(seconds[fastest], seconds["ours"]),
        fewer_passes=_passes(of.model, theirs[fastest]) / _passes(of.model, ours),
        target=target(attack, of.name),
        ours_s=sorted(seconds["ours"])[rounds // 2],
        peer_s=sorted(seconds[fastest])[rounds // 2],
        agreement=_same(left, others[fastest]),
        left_by_ours=float(left.double().mean()),
        left_by_peer=float(others[fastest].double().mean()),
        others=slower,
    )


def _passes(model: nn.Module, side: Side) -> float:
    """How many samples a side sends through the network, forward and backward."""
    passes = Passes()
    with counting(model, passes):
        side()
    return passes.forward + passes.backward


def _same(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first == second.to(first.device)).double().mean())
