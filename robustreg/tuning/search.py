"""What a search is: the plan of its runs, the space of every arm, and how much may be tried."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..data import Splits
from ..errors import UsageError, suggest
from ..plugins import Catalogue
from ..resolve import Arm, Buildable, model_of
from ..spec import Spec
from ..study import Plan, make_plan
from ..study.planning import DataLike
from ..training import Recipe
from .samplers import SamplerSource, sampler_of
from .space import RATE, Space, model_axes, rate_axis, spaces_of
from .trial import CRITERIA

BUDGETS = {"quick": (12, 1), "standard": (12, 1), "paper": (30, 3)}  # draws of an arm, and seeds of a draw
AROUND = (0.1, 4.0)  # the learning rates that are tried where none are said, in that of the recipe
TRIAL_SEED = 1_000_000  # trials have seeds of their own: a lucky one is not measured again
MEASURES = ("clean_accuracy", "fgsm_accuracy", "robust_accuracy", "training_seconds", "gradient_passes")
MOST = 10_000  # draws
PART = ("it is part of a search, with which robustreg tune goes on",)


@dataclass(frozen=True)
class Search:
    """A search, resolved.

    Attributes:
        plan: of the runs that are measured on test images, at the end; its arms are the defaults.
        spaces: of every arm, the baseline's first.
        sampler: chooses the draws.
        budget: draws of every arm.
        guide: the criterion that a guided sampler follows.
        trial_seeds: seeds of one draw.
        seed: decides the draws.
    """

    plan: Plan
    spaces: tuple[Space, ...]
    sampler: SamplerSource
    budget: int
    guide: str
    trial_seeds: tuple[int, ...]
    seed: int = 0

    @property
    def catalogue(self) -> Catalogue:
        """What names mean."""
        return self.plan.catalogue

    def trials(self, arms: Sequence[Arm], model: str | None) -> Plan:
        """Return the plan of some trials of one network. In it the validation split stands in the place of the test
        split, so that whatever is measured, no test image is looked at."""
        return self._changed(
            arms,
            model,
            load=_once(lambda: without_test(self.plan.load(self.plan.seeds[0]))),
            seeds=self.trial_seeds,
            eps=tuple(sorted({0.0, self.plan.headline_eps})),
            stacked=self.spaces[0].model is None,  # the draws of an arm; of networks hardly two are alike
        )

    def finals(self, arms: Sequence[Arm], model: str | None) -> Plan:
        """Return the plan of the runs that are measured on test images: those that no trial saw, under every seed."""
        return self._changed(arms, model, load=_once(lambda: self.plan.load(self.plan.seeds[0])))

    def _changed(self, arms: Sequence[Arm], model: str | None, **changes: Any) -> Plan:
        if model is not None:
            name, build = model_of(model, self.catalogue)
            changes |= {"model_name": name, "build": build}
        return replace(self.plan, arms=list(arms), surrogates={}, _ready={}, _hashes={}, unnamed=PART, **changes)

    def describe(self) -> dict[str, Any]:
        """Return what was searched, as plain values."""
        about = self.plan.describe()
        kept = (
            *("data", "parameters", "seeds", "epochs", "recipe", "train_images", "test_images", "classes"),
            *("headline_eps", "norm", "attacks", "protocol", "device", "versions", "notes"),
        )
        rate = next(axis for axis in self.spaces[0].axes if axis.name == RATE)
        return {
            "name": about["name"],
            **{key: about[key] for key in kept},
            "model": str(self.spaces[0].model or about["model"]),
            "val_images": len(self.plan.splits(self.plan.seeds[0]).val),
            "split_hash": self.plan.split_hash(self.plan.seeds[0]),
            "sampler": self.sampler.name,
            "guide": self.guide if self.sampler.guided else None,
            "budget": self.budget,
            "trial_seeds": len(self.trial_seeds),
            "learning_rates": rate.describe(),
        }


def make_search(
    specs: Iterable[str | Spec],
    *,
    catalogue: Catalogue,
    data: DataLike = "digits",
    model: Buildable = "mlp",
    budget: int | None = None,
    sampler: str = "random",
    guide: str = "robust",
    learning_rates: str | None = None,
    protocol: str = "quick",
    recipe: Recipe | None = None,
    **settings: Any,
) -> Search:
    """Resolve names into a search; see `tune` for the arguments.

    Raises:
        UsageError: for anything that cannot be searched, before anything is trained.
        DataError: for data that is missing or damaged.
    """
    source = sampler_of(sampler)
    if guide not in CRITERIA:
        raise UsageError(f"guide must be one of {', '.join(CRITERIA)}, got {guide!r}.{suggest(guide, CRITERIA)}")
    named = [specs] if isinstance(specs, (str, Spec)) else list(specs)
    if not named:
        raise UsageError("tune needs at least one spec, with ranges: tune l1:1e-6..1e-1 dropout:0..0.8")
    for fixed in ("label_noise", "measures"):
        if fixed in settings:
            raise UsageError(f"tune has no setting {fixed}: it trains on true labels and measures accuracies and cost")
    searched = model_axes(model, catalogue)
    of_recipe = {key: settings[key] for key in settings if key in Recipe.__dataclass_fields__}
    base = (recipe or Recipe()).changed(**of_recipe).learning_rate
    rates = learning_rates or "..".join(f"{base * factor:g}" for factor in AROUND)
    spaces = spaces_of(named, rate_axis(rates, catalogue), searched, catalogue)
    plan = make_plan(
        [space.arm_at({}, catalogue).regularizers for space in spaces],
        catalogue=catalogue,
        data=data,
        model=model if searched is None else spaces[0].model_at({}) or "",
        protocol=protocol,
        label_noise=(),
        measures=MEASURES,
        recipe=recipe,
        **settings,
    )
    if not len(plan.splits(plan.seeds[0]).val):
        raise UsageError(f"tuning selects on validation images, and {plan.data_name} has none")
    draws, seeds = BUDGETS[protocol]
    draws = draws if budget is None else budget
    if not 1 <= draws <= MOST:
        raise UsageError(f"the budget is the number of draws of every arm, from 1 to {MOST:,}; got {draws}")
    source.start(spaces[0].axes, draws, 0)  # what it needs and has not is said now
    trial_seeds = tuple(range(TRIAL_SEED, TRIAL_SEED + seeds))
    return Search(plan, tuple(spaces), source, draws, guide, trial_seeds)


def without_test(splits: Splits) -> Splits:
    """Return splits whose test split is the validation split; their hash says so."""
    digest = hashlib.sha256(f"{splits.hash} looked at on validation".encode()).hexdigest()
    return replace(splits, test=splits.val, hash=digest)


def _once(load: Callable[[], Splits]) -> Callable[[int], Splits]:
    """One split for all seeds, so that what is test for one seed is not trained on in another."""
    kept: list[Splits] = []

    def of_seed(seed: int) -> Splits:
        if not kept:
            kept.append(load())
        return kept[0]

    return of_seed
