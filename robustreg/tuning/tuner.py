"""Search, select on validation, and measure what was selected on test images, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines import AUTO, check_engine
from ..plugins import Catalogue, discover
from ..resolve import Arm, Buildable
from ..spec import Spec
from ..study import Plan, Progress, Record, Store, run_plan
from ..study.planning import DataLike
from .result import Final, Tuning
from .search import Search, make_search
from .space import Point, Space
from .trial import CRITERIA, Trial, best, judged


def tune(
    specs: Iterable[str | Spec],
    *,
    data: DataLike = "digits",
    model: Buildable = "mlp",
    budget: int | None = None,
    sampler: str = "random",
    guide: str = "robust",
    learning_rates: str | None = None,
    seeds: int | Iterable[int] | None = None,
    protocol: str = "quick",
    headline_eps: float | None = None,
    device: str = "cpu",
    engine: str = AUTO,
    run_seconds: float = 0.0,
    out: str | Path | None = None,
    catalogue: Catalogue | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Tuning:
    """Search the strengths of every arm within one budget, select on validation images, and test what was selected.

    The baseline `none` is always there and has the same budget. One split is used throughout: no test image is looked
    at before the selection, and none was ever trained on or selected by.

    Args:
        specs: with ranges or lists of values in the place of strengths and knobs: `"l1:1e-6..1e-1"`,
            `"dropout:0..0.8"`. An arm without a range is searched over the learning rate alone.
        data: as `compare` takes it.
        model: as `compare` takes it; numbers of a named network may be ranges, too: `"mlp:width=32..256,depth=1..4"`.
        budget: draws of every arm; 12 by default, 30 under the protocol "paper".
        sampler: "random", "grid", "coordinate" or "bayesian" (needs Optuna).
        guide: "clean" or "robust": the validation accuracy that coordinate and bayesian follow. Selection is by both.
        learning_rates: a range `"0.005..0.2"`, a list, or one number, for all arms; by default from a tenth of the
            recipe's to four times it.
        seeds: how many or which, for what is selected; by default as many as the protocol says.
        protocol: "quick", "standard" or "paper".
        headline_eps: the size at which robustness is judged.
        device: a torch device.
        engine: as `compare` takes it.
        run_seconds: as `compare` takes it.
        out: folder where finished runs are kept: the same call again goes on where it was cut off, and a larger budget
            trains only what is new.
        catalogue: what names mean; discovered by default.
        on_progress: called now and then.
        **settings: fields of `Recipe`, `eps=`, `norm=`.

    Raises:
        UsageError: for anything that cannot be searched, before anything is trained.
        DataError: for data that is missing or damaged.
        StoreError, DiskFullError: for a folder that cannot be used; finished runs stay safe.
    """
    catalogue = catalogue or discover()
    check_engine(engine, catalogue)
    search = make_search(
        specs,
        catalogue=catalogue,
        data=data,
        model=model,
        budget=budget,
        sampler=sampler,
        guide=guide,
        learning_rates=learning_rates,
        seeds=seeds,
        protocol=protocol,
        headline_eps=headline_eps,
        device=device,
        **settings,
    )
    about: dict[str, Any] = {"engine": engine, "run_seconds": run_seconds, "out": out, "on_progress": on_progress}
    return run_search(search, **about, say=settings.get("say"))


def run_search(
    search: Search,
    *,
    engine: str = AUTO,
    out: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
    run_seconds: float = 0.0,
) -> Tuning:
    """Do what of a search is not in the store `out` yet; see `tune`."""

    def run(plan: Plan) -> list[Record]:
        about: dict[str, Any] = {"engine": engine, "run_seconds": run_seconds, "out": out, "on_progress": on_progress}
        return run_plan(plan, **about, say=say).records

    trials = _try(search, run)
    return Tuning(search.describe(), search.spaces, trials, _test(search, trials, run, out))


@dataclass(frozen=True)
class _Wanted:
    """An arm to train, and the network to train it on; None for the one that is not searched."""

    arm: Arm
    model: str | None


def _try(search: Search, run: Callable[[Plan], list[Record]]) -> dict[str, list[Trial]]:
    """Ask the samplers of all arms, train what they ask for together, and tell them, until the budget is spent."""
    samplers = {space.arm: search.sampler.start(space.axes, search.budget, search.seed) for space in search.spaces}
    val = search.plan.splits(search.plan.seeds[0]).val
    chance = float(val.y.bincount().max()) / len(val)
    trials: dict[str, list[Trial]] = {space.arm: [] for space in search.spaces}
    while asked := [(space, point) for space in search.spaces for point in samplers[space.arm].ask()]:
        wanted = [_at(search, space, point) for space, point in asked]
        records = _run(wanted, search.trials, run)
        for (space, point), one in zip(asked, wanted, strict=True):
            known = trials[space.arm]
            model = one.model or search.plan.model_name
            blank = Trial(space.arm, len(known) + 1, space.values(point), one.arm.name, model)
            trial = judged(blank, records[one.arm.name, one.model], chance, len(val))
            known.append(trial)
            samplers[space.arm].tell(point, trial.score(search.guide))
    return trials


def _at(search: Search, space: Space, point: Point) -> _Wanted:
    values = space.values(point)
    return _Wanted(space.arm_at(values, search.catalogue), space.model_at(values))


def _test(
    search: Search,
    trials: Mapping[str, Sequence[Trial]],
    run: Callable[[Plan], list[Record]],
    out: str | Path | None,
) -> list[Final]:
    """Train what was selected, and the defaults, over the seeds of the protocol, and measure it on test images."""
    chosen: list[tuple[Space, str, Trial | None, _Wanted]] = []
    for space in search.spaces:
        for by in CRITERIA:
            trial = best(trials[space.arm], by)
            if trial is not None:
                model = space.model_at(trial.values)
                chosen.append((space, by, trial, _Wanted(space.arm_at(trial.values, search.catalogue), model)))
        default = _Wanted(space.arm_at({}, search.catalogue), space.model_at({}))
        chosen.append((space, "default", None, default))
    records = _run([one for *_, one in chosen], search.finals, run)
    uses = _uses(search, records, out)
    found = []
    for space, by, trial, one in chosen:
        at = one.arm.name, one.model
        model = one.model or search.plan.model_name
        found.append(Final(space.arm, by, one.arm.name, model, trial, records[at], uses[at]))
    return found


Found = dict[tuple[str, str | None], list[Record]]


def _run(
    wanted: Sequence[_Wanted],
    plan_of: Callable[[Sequence[Arm], str | None], Plan],
    run: Callable[[Plan], list[Record]],
) -> Found:
    """Do the runs that are wanted, network by network, and return those of each arm and network, in the order of the
    seeds. What is wanted twice is done once."""
    found: Found = {}
    for model in dict.fromkeys(one.model for one in wanted):
        arms = {one.arm.name: one.arm for one in wanted if one.model == model}
        for record in run(plan_of(list(arms.values()), model)):
            found.setdefault((record.arm, model), []).append(record)
    return found


def _uses(search: Search, records: Found, out: str | Path | None) -> dict[tuple[str, str | None], int]:
    """How often the test images were used for each configuration, by what the store knows."""
    if out is None:
        return dict.fromkeys(records, 1)
    about = search.plan.describe()
    shared = {"split": search.plan.split_hash(search.plan.seeds[0]), "recipe": about["recipe"]}
    with Store(out) as store:
        return {
            (arm, model): store.tested(
                json.dumps({**shared, "arm": arm, "model": model or about["model"]}, sort_keys=True),
                (record for record in found if record.status != "failed"),
            )
            for (arm, model), found in records.items()
        }
