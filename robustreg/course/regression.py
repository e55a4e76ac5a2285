"""A regression of a recipe: runs over seeds, each on data drawn with its seed, trained in stacked steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..cohort import Member, train_cohort
from ..data import Splits
from ..engines import cores
from ..models import count_parameters
from ..noise import fold, seed_key
from ..plugins import Catalogue
from ..recipe import Recipe
from ..resolve import arms_of, import_object, model_of
from ..session import Run, Session, norms
from ..study import Progress, versions
from ..training import train
from . import kept
from .recipe import Part, StudyFile
from .recorder import Recorder
from .result import PartResult, Points, SeedResult, Snapshot

Tell = Callable[[float], None]  # which share of a part is done

SCALAR = (1,)  # the shape of one input that can be drawn on paper


def run_regression(
    study: StudyFile, folder: Path, catalogue: Catalogue, *, on_progress: Callable[[Progress], None] | None = None
) -> list[PartResult]:
    """Train the networks of a regression and return its parts, without readings; what is kept is not trained again.

    Args:
        study: with `task = "regression"`; its data is `package.module:function` from seed to `Splits`.
        folder: beside which one file is kept.
        catalogue: what names mean.
        on_progress: told what is being trained.

    Raises:
        UsageError: for a study that cannot be run.
        StoreError, DiskFullError: when it cannot be kept.
    """
    settings = dict(study.settings)
    every, asked, data = settings.pop("snapshots", 0), settings.pop("seeds", 1), settings.pop("data")
    model, load = settings.pop("model"), import_object(data)
    settings.pop("task")
    rules = Recipe().changed(**settings)
    seeds = list(range(asked)) if isinstance(asked, int) else list(asked)
    splits = {seed: load(seed) for seed in seeds}
    hashes = {seed: one.hash for seed, one in splits.items()}
    decides = [versions(), asdict(rules), data, model, hashes, every, [asdict(part) for part in study.parts]]
    key, file = kept.key_of(decides), folder.with_suffix(".json")
    found = kept.get(file, key)
    if found is not None:
        return found
    parts: list[PartResult] = []
    started = time.monotonic()
    for part in study.parts:
        what = f"{part.label} · {len(seeds)} seed{'s' * (len(seeds) > 1)} · {rules.epochs} epochs each"

        def tell(share: float, done: int = len(parts), what: str = what) -> None:
            if on_progress is not None:
                ready, taken = done + share, time.monotonic() - started
                left = taken * (len(study.parts) / ready - 1) if ready else None
                on_progress(Progress(done, len(study.parts), what, left, 0, 0, share))

        tell(0.0)
        members = [_member(part, model, splits[seed], seed, catalogue) for seed in seeds]
        results = _with_snapshots(members, rules, every, tell) if every else _together(members, rules, tell)
        first = splits[seeds[0]]
        parts.append(
            PartResult(
                part.label, part.spec, "true", data, model, count_parameters(members[0].model), len(first.train),
                len(first.val), len(first.test), rules.epochs * -(-len(first.train) // rules.batch_size), asdict(rules),
                hashes, tuple(results), points=_points(first),
            )
        )  # fmt: skip
    kept.put(file, key, parts)
    return parts


def _member(part: Part, model: str, splits: Splits, seed: int, catalogue: Catalogue) -> Member:
    _, build = model_of(model, catalogue)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(fold(seed_key(seed), "weights")))
        network = build(splits.shape, splits.train.y.shape[1])
    return Member(network, arms_of([part.spec], catalogue)[0].regularizers, splits, seed)


def _with_snapshots(members: Sequence[Member], rules: Recipe, every: int, tell: Tell) -> list[SeedResult]:
    """One run after the other, with the network's function on the test inputs before and in between."""
    found: list[SeedResult] = []
    for one in members:
        assert isinstance(one.splits.test.x, Tensor)
        recorder = Recorder(one.splits.test.x, every=every, model=one.model)

        def look(session: Session, recorder: Recorder = recorder) -> None:
            recorder(session)
            tell((len(found) + session.epoch / rules.epochs) / len(members))

        run = train(
            one.model, one.regularizers, one.splits, seed=one.seed, task="regression", recipe=rules, on_epoch=look
        )
        found.append(_result(run, one.splits, tuple(recorder.snapshots)))
    return found


def _together(members: Sequence[Member], rules: Recipe, tell: Tell) -> list[SeedResult]:
    """All runs, on as many processes as there are cores, each process its share in one stack."""
    runs = train_cohort(members, recipe=rules, task="regression", processes=cores(), on_epoch=tell)
    return [_result(run, one.splits) for run, one in zip(runs, members, strict=True)]


def _result(run: Run, splits: Splits, snapshots: tuple[Snapshot, ...] = ()) -> SeedResult:
    x, y = splits.test.x, splits.test.y
    assert isinstance(x, Tensor)
    with torch.no_grad():
        error = float((run.model(x) - y).square().mean())
    return SeedResult(
        run.seed, run.status, run.reason, tuple(run.history), run.initial_norms, norms(run.model),
        {"test_error": error}, snapshots=snapshots,
    )  # fmt: skip


def _points(splits: Splits) -> Points | None:
    if splits.shape != SCALAR:
        return None
    tensors = (splits.train.x, splits.train.y, splits.test.x, splits.test.y)
    return Points(*(tuple(each.flatten().tolist()) for each in tensors if isinstance(each, Tensor)))
