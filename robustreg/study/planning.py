"""From names to a plan: everything that cannot be run is said here, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn

from ..attacks import eps_grid
from ..data import Dataset, DataSource, Splits, load_dataset, make_splits
from ..errors import UsageError, suggest
from ..objective import check_hooks
from ..plugins import Catalogue
from ..regularizer import Regularizer
from ..resolve import Buildable, arms_of, model_of
from ..spec import Spec
from ..training import Recipe
from .conditions import LabelCondition
from .plan import BASELINE, Plan
from .protocol import protocol_of

DEFAULT_ARMS = (
    "none", "l1", "l2", "dropout", "shift", "input_noise", "label_smoothing", "mixup", "early_stopping", "cosine",
    "fgsm_training",
)  # fmt: skip

MOST_SEEDS = 10_000
SAME_WEIGHTS = "the model is a network, so every seed starts from its weights; give a function to draw them anew"

ArmLike = str | Spec | Regularizer | Sequence[Regularizer]
DataLike = str | DataSource | Dataset | Callable[[int], Splits]


def make_plan(
    arms: Iterable[ArmLike] = (),
    *,
    catalogue: Catalogue,
    data: DataLike = "digits",
    model: Buildable = "mlp",
    seeds: int | Iterable[int] | None = None,
    protocol: str = "quick",
    label_noise: Iterable[float] = (0.0, 1.0),
    label_mode: str = "uniform",
    eps: Iterable[float] | None = None,
    headline_eps: float | None = None,
    norm: str = "linf",
    measures: Iterable[str] | None = None,
    device: str = "cpu",
    say: Callable[[str], None] | None = None,
    recipe: Recipe | None = None,
    **settings: Any,
) -> Plan:
    """Resolve names into a plan; see `compare` for the arguments.

    Raises:
        UsageError: for anything that cannot be run, before anything is trained.
        DataError: for data that is missing or damaged.
    """
    rules = protocol_of(protocol)
    named = [arms] if isinstance(arms, (str, Spec, Regularizer)) else list(arms)
    chosen = arms_of([BASELINE, *(named or DEFAULT_ARMS)], catalogue)
    which = _seeds(rules.seeds if seeds is None else seeds)
    base = (recipe or Recipe(epochs=rules.epochs)).changed(**settings)
    load, data_name = _loader(data, catalogue, say)
    splits = load(which[0])
    grid, headline = eps_grid(splits.name, splits.shape, norm)
    grid = tuple(sorted({0.0, *_numbers(eps, "eps")})) if eps is not None else grid
    if headline_eps is None:
        headline = headline if headline in grid else grid[len(grid) // 2]
    else:
        headline, grid = headline_eps, tuple(sorted({*grid, headline_eps}))
    if not all(0 <= e <= (1 if norm == "linf" else math.inf) for e in grid):
        most = " to 1" if norm == "linf" else ""
        raise UsageError(f"eps is in pixel units from 0{most}, got {', '.join(f'{e:g}' for e in grid)}")
    model_name, build = model_of(model, catalogue)
    random_epochs = settings.get("epochs", recipe.epochs if recipe else rules.random_epochs)
    conditions = tuple(
        LabelCondition(rate, label_mode, rules.random_images, max(random_epochs, rules.random_epochs))
        if rate == 1
        else LabelCondition(rate, label_mode, None, base.epochs)
        for rate in sorted({0.0, *_numbers(label_noise, "label_noise")})
    )
    plan = Plan(
        data_name,
        model_name,
        chosen,
        which,
        conditions,
        base,
        rules,
        grid,
        headline,
        norm,
        device,
        catalogue,
        load,
        build,
        (SAME_WEIGHTS,) if isinstance(model, nn.Module) and len(which) > 1 else (),
        None if measures is None else _measures(measures, catalogue),
        unnamed=_unnamed(data=data, model=model),
    )
    plan.model(which[0])
    for arm in chosen:
        check_hooks(arm.regularizers)
    return plan


def _unnamed(**given: Any) -> tuple[str, ...]:
    """Say of what was given as a Python object that it was."""
    return tuple(f"its {name} was given as a Python object" for name, value in given.items() if type(value) is not str)


def _seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """Return the seeds that a number of them or a list of them says."""
    if isinstance(seeds, int) and seeds > MOST_SEEDS:
        raise UsageError(f"a study has at most {MOST_SEEDS:,} seeds, got {seeds:,}")
    try:
        which = tuple(range(seeds) if isinstance(seeds, int) else seeds)
    except TypeError:
        raise UsageError(f"seeds must be a whole number or a list of them, got {seeds!r}") from None
    if not which or len(set(which)) != len(which) or not all(isinstance(seed, int) for seed in which):
        raise UsageError(f"a study needs at least one seed, whole numbers each named once; got {list(which)}")
    return which


def _measures(names: Iterable[str], catalogue: Catalogue) -> tuple[str, ...]:
    """Return the names of measures that a study is about, each known."""
    found = dict.fromkeys([names] if isinstance(names, str) else names)
    known = catalogue.offers["measures"]
    for name in found:
        if name not in known:
            hint = suggest(str(name), known)
            raise UsageError(f"no measure is called {name!r}.{hint} There are {', '.join(known)}")
    if not found:
        raise UsageError("measures must name at least one measure; leave it out for all of them")
    return tuple(found)


def _numbers(values: float | Iterable[float], what: str) -> list[float]:
    """Return one number or several as floats."""
    try:
        return [float(value) for value in ([values] if isinstance(values, (int, float)) else values)]
    except (TypeError, ValueError):
        raise UsageError(f"{what} must be a number or a list of numbers, got {values!r}") from None


def _loader(
    data: DataLike, catalogue: Catalogue, say: Callable[[str], None] | None
) -> tuple[Callable[[int], Splits], str]:
    if callable(data) and not isinstance(data, DataSource):
        return data, getattr(data, "__name__", "data")
    if not isinstance(data, (str, DataSource, Dataset)):
        kinds = "a name, a Dataset, or a function from seed to Splits"
        raise UsageError(f"data must be {kinds}, got {type(data).__name__}")
    sources = list(catalogue.offers["datasets"].values())
    dataset, sizes = load_dataset(data, sources=sources, say=say)
    name = data if isinstance(data, str) else data.name
    return (lambda seed: make_splits(dataset, seed=seed, **sizes)), name
