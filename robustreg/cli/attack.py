"""`robustreg attack`: accuracy against eps, attack by attack."""

from __future__ import annotations

from typing import Any

import click

from ..spec import parse_term
from .evaluate import load_subject, subject_options
from .options import attack_options, common_options, one
from .output import console, print_json


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
    from ..attacks import evaluate_attacks, protocol_attacks
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
    grid = tuple(subject.eps_grid)
    curves: dict[str, dict[float, float]] = {}
    worst = None
    for attack in chosen:
        report = evaluate_attacks(
            network, x, y, [attack], grid, norm=options["norm"], seed=about["seed"], headline=subject.headline_eps
        )
        broken = report.attack_broken_at[attack.name]
        worst = broken if worst is None else worst.minimum(broken)
        curves[attack.name] = {eps: float((broken > i).double().mean()) for i, eps in enumerate(grid)}
    assert worst is not None
    total = {eps: float((worst > i).double().mean()) for i, eps in enumerate(grid)}
    if options["as_json"]:
        print_json({**about, "norm": options["norm"], "eps": list(grid), "attacks": curves, "worst_case": total})
        return 0
    from rich.table import Table

    title = f"accuracy of {about['model']} on {about['data']} under attack, eps in pixel units ({options['norm']})"
    weak = {attack.name for attack in chosen if attack.weak}
    names = [f"{name} (weak)" if name in weak else name for name in curves]
    table = Table("eps", *names, "worst case", title=title, title_justify="left")
    for eps in grid:
        table.add_row(f"{eps:.4g}", *(f"{curve[eps]:.3f}" for curve in (*curves.values(), total)))
    console().print(table)
    return 0
