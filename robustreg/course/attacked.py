"""Attacks that a recipe names, on the models of a study: those that know nothing of a defence, to be shown winning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from .. import checkpoint
from ..attacks import Attack, evaluate_attacks, fgsm, pgd, transfer
from ..layers import behind
from ..plugins import Catalogue
from ..resolve import attack_of
from ..spec import parse_term
from ..study import Comparison, Plan, Record, Store

BEHIND = {"fgsm_behind": fgsm, "pgd_behind": partial(pgd, steps=20)}


def accuracy_under(
    attacks: Mapping[str, str], plan: Plan, comparison: Comparison, folder: Path, catalogue: Catalogue
) -> Mapping[tuple[str, int], Mapping[str, Any]]:
    """Return what each attack leaves of the test accuracy of each run on true labels, by arm and seed.

    Args:
        attacks: by name, as `robustreg attack` takes them; or "fgsm_behind" and "pgd_behind": images made on the
            network without what a defence put in front of it, shown to the whole.
        plan: of the study.
        comparison: the finished study.
        folder: where its models are.
        catalogue: what names mean.
    """
    found: dict[tuple[str, int], Mapping[str, Any]] = {}
    with Store(folder) as store:
        done = [record for record in comparison.records if record.status == "ok" and record.label_condition == "true"]
        for record in done:
            network = _network(plan, store, record)
            known = {
                name: Attack(name, transfer, "", settings={"surrogate": behind(network), "attack": attack})
                for name, attack in BEHIND.items()
            }
            chosen = [
                (known.get(text) or attack_of(parse_term(text), catalogue)).with_settings(name)
                for name, text in attacks.items()
            ]
            found[record.arm, record.seed] = _accuracies(network, chosen, plan, record.seed)
    return found


def _accuracies(network: nn.Module, attacks: Sequence[Attack], plan: Plan, seed: int) -> dict[str, Any]:
    """Accuracy at the headline eps as `NAME_accuracy`, and by eps as `NAME_curve`."""
    test = plan.splits(seed).test
    x, y = next(test.batches(None, len(test)))
    found: dict[str, Any] = {f"{attack.name}_curve": {} for attack in attacks}
    for eps in plan.eps:
        # At its headline every attack is tried on every point, so that it is shown as if there were no other.
        report = evaluate_attacks(network, x, y, attacks, [0.0, eps], headline=eps, norm=plan.norm, seed=seed)
        for attack in attacks:
            left = 1 - float(report.headline_broken[attack.name].double().mean())
            found[f"{attack.name}_curve"][repr(eps)] = left
            if eps == plan.headline_eps:
                found[f"{attack.name}_accuracy"] = left
    return found


def _network(plan: Plan, store: Store, record: Record) -> nn.Module:
    """The trained network of a run, as it was measured."""
    arm = next(arm for arm in plan.arms if arm.name == record.arm)
    network = checkpoint.from_bytes(store.model(record), plan.model(record.seed))
    for member in arm.regularizers:
        if member.at_inference:
            network = member.finish(network) or network  # type: ignore[operator]
    return network.eval()
