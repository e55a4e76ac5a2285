"""A study of a recipe, handed to the study room: arms x seeds x label conditions, as `compare` runs them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..plugins import Catalogue
from ..resolve import Arm, arms_of
from ..spec import parse
from ..study import Comparison, Plan, Progress, Record, make_plan, run_plan
from ..study.conditions import LabelCondition
from . import kept
from .attacked import accuracy_under
from .faces import with_faces
from .recipe import Part, StudyFile
from .result import PartResult, SeedResult

MEASURES = ("clean_accuracy", "layer_norms")  # where a recipe asks for no others
NORMS = "layer_norms"
TRUE_LABELS = "true"


def run_study(
    study: StudyFile,
    folder: Path,
    catalogue: Catalogue,
    *,
    faces: str | Path | None = None,
    engine: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[PartResult]:
    """Run a study and return its parts, without readings; what is in `folder` already is not run again.

    Args:
        study: of classifiers.
        folder: where finished runs are kept; once all are done, one small file is left of them.
        catalogue: what names mean.
        faces: see `with_faces`.
        engine: as `compare` takes it.
        on_progress: as `compare` takes it.
        say: told what a user should know.

    Raises:
        UsageError: for a study that cannot be run.
        DataError, StoreError, DiskFullError: as `compare` does.
    """
    settings = dict(study.settings)
    attacks = settings.pop("attacks", {})
    name, data = with_faces(settings.pop("data"), faces)
    settings.setdefault("measures", MEASURES)
    settings["measures"] = list(dict.fromkeys((*settings["measures"], NORMS)))
    plan = make_plan(study.specs, catalogue=catalogue, data=data, label_noise=study.label_noise, say=say, **settings)
    wanted = [(part, _arm(part, catalogue), _condition(part, plan)) for part in study.parts]
    key = kept.key_of([[plan.identity(run) for run in plan.runs()], attacks, name, [asdict(p) for p in study.parts]])
    file = folder.with_suffix(".json")
    found = kept.get(file, key)
    if found is not None:
        return found
    comparison = run_plan(plan, engine=engine, out=folder, on_progress=on_progress, say=say)
    parts = [_part(part, arm, str(condition), plan, comparison, name) for part, arm, condition in wanted]
    if attacks:
        accuracies = accuracy_under(attacks, plan, comparison, folder, catalogue)
        parts = [_with(part, arm, accuracies) for part, (_, arm, _) in zip(parts, wanted, strict=True)]
    if all(run.status != "failed" for part in parts for run in part.runs):
        kept.put(file, key, parts)
        shutil.rmtree(folder, ignore_errors=True)  # a model of each run is a lot, and nobody asks for it
    return parts


def _arm(part: Part, catalogue: Catalogue) -> Arm:
    return arms_of([parse(part.spec)], catalogue)[0]


def _condition(part: Part, plan: Plan) -> LabelCondition:
    return next(condition for condition in plan.conditions if condition.rate == part.label_noise)


def _part(part: Part, arm: Arm, condition: str, plan: Plan, comparison: Comparison, data: str) -> PartResult:
    records = [record for record in comparison.of(arm.name) if record.label_condition == condition]
    splits = plan.splits(plan.seeds[0])
    rules = plan.recipe_of(_condition(part, plan))
    images = min(_condition(part, plan).images or len(splits.train), len(splits.train))
    attacked = any("robust" in name or "fgsm" in name for name in plan.measures())
    flags = [flag["says"].rstrip(".") for flag in comparison.trust[arm.name] if flag["level"] == "red"]
    return PartResult(
        label=part.label,
        spec=part.spec,
        labels=condition,
        data=data,
        model=plan.model_name,
        parameters=plan.parameters(),
        train_images=images,
        val_images=len(splits.val),
        test_images=len(splits.test),
        steps=rules.epochs * -(-images // rules.batch_size),
        settings=asdict(rules),
        split={seed: plan.split_hash(seed) for seed in plan.seeds},
        runs=tuple(_seed_result(record) for record in records),
        flags=tuple(flags) if attacked else (),
    )


def _seed_result(record: Record) -> SeedResult:
    norms = record.measures.get(NORMS, {})
    return SeedResult(
        record.seed,
        record.status,
        record.reason,
        tuple(record.history),
        record.details.get("initial_norms", {}),
        norms if isinstance(norms, Mapping) else {},
        {name: value for name, value in record.measures.items() if name != NORMS},
        record.details.get("examples", {}),
    )


def _with(part: PartResult, arm: Arm, accuracies: Mapping[tuple[str, int], Mapping[str, Any]]) -> PartResult:
    """The part with what attacks of the recipe left of its runs on true labels."""
    if part.labels != TRUE_LABELS:
        return part
    runs = [replace(run, numbers={**run.numbers, **accuracies.get((arm.name, run.seed), {})}) for run in part.runs]
    return replace(part, runs=tuple(runs))


def seeds_of(study: StudyFile, seeds: int | None) -> StudyFile:
    """Return the study over as many seeds as the user wants; one that names its seeds keeps them."""
    asked: int | Sequence[int] = study.settings.get("seeds", 1)
    if seeds is None or not isinstance(asked, int):
        return study
    return StudyFile({**study.settings, "seeds": seeds}, study.parts)
