"""What a study is planned from, kept as text, and planned from again: the same runs, or why they are others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import RobustregError, UsageError
from ..plugins import Catalogue
from ..recipe import Recipe
from ..resolve import arms_of, is_import
from .conditions import LabelCondition
from .folder import NAME, StudyFile
from .plan import Plan, PlannedRun
from .planning import make_plan

# A name, and settings that are no paths: what may be taken from a stranger's study.
_PLAIN = re.compile(
    r"[A-Za-z0-9_.-]+(?::(?!path=)[a-z0-9_-]+=[A-Za-z0-9_.+-]+(?:,(?!path=)[a-z0-9_-]+=[A-Za-z0-9_.+-]+)*)?"
)


def study_file(
    plan: Plan, runs: Sequence[PlannedRun], identities: Sequence[str], *, run_seconds: float = 0.0
) -> StudyFile:
    """Return what is written down of a plan before its first run.

    Args:
        plan: the study.
        runs: all its runs.
        identities: theirs, in the same order.
        run_seconds: the limit of a run, which decides no number and so is part of no identity.
    """
    rows = [(run.arm.name, run.seed, str(run.condition), identity)
            for run, identity in zip(runs, identities, strict=True)]  # fmt: skip
    unnamed = (*plan.unnamed, *_objects(plan))
    request = None if unnamed else _request(plan) | {"run_seconds": run_seconds}
    return StudyFile(plan.describe(), [arm.name for arm in plan.arms], plan.measures(), rows, request, unnamed)


def _request(plan: Plan) -> dict[str, Any]:
    return {
        "arms": [arm.name for arm in plan.arms],
        "data": plan.data_name,
        "model": plan.model_name,
        "seeds": list(plan.seeds),
        "conditions": [asdict(condition) for condition in plan.conditions],
        "recipe": asdict(plan.recipe),
        "protocol": plan.protocol.name,
        "eps": list(plan.eps),
        "headline_eps": plan.headline_eps,
        "norm": plan.norm,
        "measures": None if plan.wanted is None else list(plan.wanted),
        "device": plan.device,
        "stacked": plan.stacked,
        "strangers_measures": plan.strangers_measures(),
    }


def _objects(plan: Plan) -> list[str]:
    """Say of each arm that its name does not stand for it: one of a class that no plugin offers."""
    found = []
    for arm in plan.arms:
        try:
            (again,) = arms_of([arm.name], plan.catalogue)
            same = again.settings() == arm.settings() and again.name == arm.name
            same = same and [*map(type, again.regularizers)] == [*map(type, arm.regularizers)]
        except (RobustregError, ValueError):
            same = False
        if not same:
            found.append(f"its arm {arm.name!r} was given as a Python object")
    return found


def plan_again(
    file: StudyFile,
    folder: Path,
    catalogue: Catalogue,
    *,
    data: str | None = None,
    model: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Plan:
    """Return the plan of a study from its file.

    Args:
        file: what its folder says.
        folder: for messages.
        catalogue: what names mean.
        data: the data set, named again: what the file says is never followed to a path.
        model: the model, named again: what the file says is never imported.
        say: told what a user should see of loading the data.

    Raises:
        UsageError: for a study that was made of Python objects, or one whose data or model has to be named again.
        DataError: for data that is missing or damaged.
    """
    request = file.request
    if request is None:
        reasons = "; ".join(file.unnamed) or "its file does not say what it is made of"
        raise UsageError(
            f"{folder} cannot be planned again from here: {reasons}. Start what made it again; in Python, call"
            f" robustreg.compare(..., out={str(folder)!r}), which goes on with it"
        )
    if data is None and (not _PLAIN.fullmatch(request["data"]) or ".." in request["data"]):
        raise UsageError(
            f"{folder / NAME} names data outside the study, which is not opened unless you name it, too:"
            f" --data {request['data']}"
        )
    if model is None and is_import(request["model"], catalogue):
        raise UsageError(
            f"{folder / NAME} names code for its model, which is not imported unless you name it, too:"
            f" --model {request['model']}"
        )
    _check_arms(request["arms"], folder)
    if request["device"].startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"{folder} was begun on {request['device']}, and torch finds no CUDA device here")
    plan = make_plan(
        request["arms"],
        catalogue=catalogue,
        data=data or request["data"],
        model=model or request["model"],
        seeds=request["seeds"],
        protocol=request["protocol"],
        eps=request["eps"],
        headline_eps=request["headline_eps"],
        norm=request["norm"],
        measures=request["measures"],
        device=request["device"],
        recipe=Recipe(**request["recipe"]),
        say=say,
    )
    # The names stay those of the study, wherever its data are now: they stand in model files and reports.
    conditions = tuple(LabelCondition(**condition) for condition in request["conditions"])
    named = {"data_name": request["data"], "model_name": request["model"]}
    return replace(plan, conditions=conditions, eps=tuple(request["eps"]), stacked=request["stacked"], **named)


def _check_arms(arms: Sequence[str], folder: Path) -> None:
    for arm in arms:
        if "/" in arm or "\\" in arm or ".." in arm:
            raise UsageError(f"{folder / NAME} has the arm {arm!r:.80}, which names a path; paths are not followed")


def changed(plan: Plan, file: StudyFile) -> list[str]:
    """Return why runs planned now are others than those in the file; empty where all are the same."""
    now = [(run.arm.name, run.seed, str(run.condition), plan.identity(run)) for run in plan.runs()]
    if now == file.runs:
        return []
    before = file.study["versions"] | (file.request or {}).get("strangers_measures", {})
    found = _versions(before, plan.versions() | plan.strangers_measures())
    hashes = file.study["split_hashes"]
    if any(plan.split_hash(seed) != hashes.get(str(seed)) for seed in plan.seeds):
        found.append("the data: its images, labels or splits are not those of the study")
    return found or ["the settings or the initial weights of the model; versions and data are the same"]


def _versions(before: dict[str, Any], now: dict[str, str]) -> list[str]:
    names = dict.fromkeys((*before, *now))
    return [f"{name} was {before.get(name, 'not there')} and is {now.get(name, 'not there')}"
            for name in names if before.get(name) != now.get(name)]  # fmt: skip
