"""`robustreg attack`: accuracy against eps, attack by attack."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import click

from ..spec import parse_term
from .evaluate import load_subject, subject_options
from .options import attack_options, common_options, one
from .output import console, print_json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..attacks import Attack

WORST = "worst case"


@click.command("attack")
@subject_options
@click.option("--attack", "attacks", multiple=True, metavar="NAME[:key=value,...]",
              help="An attack to run, several times for several [fgsm and those of the protocol].")  # fmt: skip
@attack_options
@common_options
def command(attacks: tuple[str, ...], **options: Any) -> int:
    """Attack a model at every eps of a grid and print the accuracy that each attack leaves.

    MODEL is as in robustreg evaluate. A point counts as broken when its clean image is misclassified already, or when
    the attack broke it at this eps or a smaller one. The last column is the per-sample worst case over all attacks.
    """
    terms = [parse_term(attack) for attack in attacks]
    from ..attacks import protocol_attacks
    from ..attacks.protocols import FGSM_ATTACK
    from ..measures import subject_of
    from ..plugins import discover
    from ..resolve import attack_of

    catalogue = discover()
    chosen = [attack_of(term, catalogue) for term in terms]
    network, splits, about = load_subject(options, catalogue)
    chosen = chosen or [FGSM_ATTACK, *protocol_attacks(options["protocol"])]
    subject = subject_of(
        network,
        splits,
        seed=about["seed"],
        eps=options["eps"],
        headline_eps=one(options["headline_eps"], "--headline-eps"),
        norm=options["norm"],
    )
    x, y = next(splits.test.batches(None, len(splits.test), subject.device))
    grid = tuple(sorted({*subject.eps_grid, *(options["headline_eps"] or ())}))
    curves = _curves(network, x, y, chosen, grid, norm=options["norm"], seed=about["seed"])
    total = curves.pop(WORST)
    if options["as_json"]:
        print_json({**about, "norm": options["norm"], "eps": list(grid), "headline_eps": subject.headline_eps,
                    "attacks": curves, "worst_case": total})  # fmt: skip
        return 0
    from rich.table import Table

    title = f"accuracy of {about['model']} on {about['data']} under attack, eps in pixel units ({options['norm']})"
    weak = {attack.name for attack in chosen if attack.weak}
    names = [f"{name} (weak)" if name in weak else name for name in curves]
    table = Table("eps", *names, "worst case", title=title, title_justify="left")
    for eps in grid:
        judged = " (headline)" * (eps == subject.headline_eps > 0)
        table.add_row(f"{eps:.4g}{judged}", *(f"{curve[eps]:.3f}" for curve in (*curves.values(), total)))
    console().print(table)
    return 0


def _curves(
    network: nn.Module, x: Tensor, y: Tensor, attacks: list[Attack], grid: tuple[float, ...], *, norm: str, seed: int
) -> dict[str, dict[float, float]]:
    """Accuracy by eps for each attack by itself, and for the worst case of all."""
    from ..attacks import evaluate_attacks

    curves: dict[str, dict[float, float]] = {}
    broken: dict[str, Tensor] = {}
    for eps in grid:
        # At its headline every attack is tried on every point, so the attacks are independent of each other.
        report = evaluate_attacks(network, x, y, attacks, sorted({0.0, eps}), norm=norm, seed=seed, headline=eps)
        found = {attack.name: report.headline_broken[attack.name] for attack in attacks}
        found[WORST] = functools.reduce(operator.or_, found.values())
        for name, now in found.items():
            broken[name] = broken.get(name, now) | now
            curves.setdefault(name, {})[eps] = 1 - float(broken[name].double().mean())
    return curves
