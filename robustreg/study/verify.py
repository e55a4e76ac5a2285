"""Is a study what it says: checksums of all that is kept, and some runs trained again and compared bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from ..errors import DataError
from .execute import train_again
from .folder import StudyFile, read_study
from .plan import Plan
from .reading import DamagedRowError, Reading
from .record import Record
from .request import changed
from .runner import threads_of


@dataclass
class Verified:
    """What was found.

    Attributes:
        rows: how many were read.
        models: how many model files were read.
        checkpoints: how many states of runs that are to go on were read.
        retrained: arm, seed, label condition, identity and `differs` (empty for the same bits) of each run that was
            trained again.
        problems: a sentence for each thing that is not what was written; empty for a sound study.
    """

    rows: int = 0
    models: int = 0
    checkpoints: int = 0
    retrained: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"sound": not self.problems, **vars(self)}


def verify(
    folder: str | Path,
    plan_of: Callable[[StudyFile], Plan],
    *,
    runs: int = 1,
    draw: int = 0,
    say: Callable[[str], None] = lambda message: None,
) -> Verified:
    """Check every row and model file of a study, then train some runs again and compare their weights.

    Args:
        folder: of the study; nothing in it is written.
        plan_of: how the study is planned again, see `request.plan_again`; called only where something is trained.
        runs: how many to train again.
        draw: which: each number draws others, the same every time.
        say: told what is being done.

    Raises:
        UsageError, DataError: when the study cannot be planned again.
        StoreError: for a folder that cannot be read.
    """
    file = read_study(folder)
    found = Verified()
    with Reading(folder) as store:
        found.problems += [f"{store.path.name} is damaged: {text}" for text in store.damage()]
        sound = _check_files(store, found)
        begun = sorted(store.begun())
        found.checkpoints = len(begun)
        found.problems += filter(None, map(store.checkpoint_problem, begun))
        chosen = _drawn([run for run in file.runs if run[-1] in sound], runs, draw)
        if not chosen:
            return found
        # Weights are compared, which no measure changes: what is installed here need not have made the study.
        plan = replace(plan_of(file), strangers=(file.request or {}).get("strangers_measures"))
        others = changed(plan, file)
        if others:
            reason = "; ".join(others)
            found.problems.append(f"no run can be trained again as it was, since something else is here: {reason}")
            return found
        for arm, seed, condition, identity in chosen:
            say(f"Training again: {arm} · seed {seed} · {condition} labels")
            differs = _train_and_compare(plan, identity, load(store.model(sound[identity])))
            run = {"arm": arm, "seed": seed, "label_condition": condition, "id": identity, "differs": differs}
            found.retrained.append(run)
            if differs:
                found.problems.append(f"{arm} · seed {seed} · {condition} labels, trained again: {differs}")
    return found


def _check_files(store: Reading, found: Verified) -> dict[str, Record]:
    """Check rows and model files, and return the runs by identity that are sound and have a model."""
    sound: dict[str, Record] = {}
    for record in store.records():
        found.rows += 1
        if isinstance(record, DamagedRowError):
            found.problems.append(str(record))
        elif record.model_sha256:
            found.models += 1
            try:
                store.model(record)
            except DataError as error:
                found.problems.append(str(error))
            else:
                sound[record.id] = record
    return sound


def _drawn(runs: Sequence[tuple[str, int, str, str]], count: int, draw: int) -> list[tuple[str, int, str, str]]:
    """As many of the runs as are wanted, chosen by a hash, so that anybody draws the same."""
    distinct = {run[-1]: run for run in runs}
    return sorted(distinct.values(), key=lambda run: hashlib.sha256(f"{draw} {run[-1]}".encode()).digest())[:count]


def _train_and_compare(plan: Plan, identity: str, kept: dict[str, Tensor]) -> str:
    """Train a run as the plan says, and say how its weights differ from those that were kept; empty if in no bit."""
    runs = list(plan.runs())
    index = next(at for at, run in enumerate(runs) if plan.identity(run) == identity)
    with threads_of(plan):
        weights, reason = train_again(plan, runs, index)
    if weights is None:
        return f"it failed: {reason}"
    if {name: (each.shape, each.dtype) for name, each in weights.items()} != {
        name: (each.shape, each.dtype) for name, each in kept.items()
    }:
        return "the network has other tensors"
    wrong = [name for name in kept if not _same_bits(kept[name], weights[name])]
    if not wrong:
        return ""
    most = max(float((kept[name].double() - weights[name].double()).abs().max()) for name in wrong)
    return f"{len(wrong)} of {len(kept)} tensors differ, by up to {most:.3g}: {', '.join(wrong[:5])}"


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
