"""Bayesian search: Optuna's tree-structured Parzen estimator, by ask and tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...errors import UsageError
from ...noise import fold, seed_key
from ..axis import Axis
from ..space import Point
from .sampler import SamplerSource, drawn

AT_ONCE = 4  # points between two looks at the results: they train together
START = 3  # the share of the budget, one in so many, that is drawn at random before anything is learned from


class BayesianSampler:
    """Asks for random draws first, then for four points at a time where the estimator expects more.

    Nothing of Optuna is kept: for each question its study is made anew of what was told, so the answer depends on that
    alone, and our store stays the truth.

    Bergstra et al, Algorithms for hyper-parameter optimization, 2011; Akiba et al, Optuna: a next-generation
    hyperparameter optimization framework, 2019.
    """

    def __init__(self, axes: Sequence[Axis], budget: int, seed: int) -> None:
        self._optuna = optuna()
        self._axes, self._budget, self._seed = list(axes), budget, seed
        self._told: list[tuple[Point, float]] = []

    def ask(self) -> list[Point]:
        """Return the next points; those that are still to be told of are not asked again."""
        done = len(self._told)
        start = -(-self._budget // START)
        if done < start:
            return [drawn(self._axes, draw, self._seed) for draw in range(done, start)]
        count = min(AT_ONCE, self._budget - done)
        with _quiet(self._optuna):
            study = self._study()
            return [self._point(study.ask(self._distributions()).params) for _ in range(count)]

    def tell(self, point: Point, score: float) -> None:
        """Take note of a result."""
        self._told.append((point, score))

    def _study(self) -> Any:
        number = int(fold(fold(seed_key(self._seed), "tpe"), len(self._told))) % 2**32
        tpe = self._optuna.samplers.TPESampler(seed=number, n_startup_trials=1, constant_liar=True)
        study = self._optuna.create_study(direction="maximize", sampler=tpe)
        create, known = self._optuna.trial.create_trial, self._distributions()
        study.add_trials(
            [create(params=self._parameters(point), distributions=known, value=score) for point, score in self._told]
        )
        return study

    def _distributions(self) -> dict[str, Any]:
        kinds = self._optuna.distributions
        return {
            axis.name: kinds.CategoricalDistribution(range(len(axis.values)))
            if axis.values
            else kinds.FloatDistribution(0.0, 1.0)
            for axis in self._axes
        }

    def _parameters(self, point: Point) -> dict[str, float | int]:
        found = zip(self._axes, point, strict=True)
        return {axis.name: min(int(u * axis.count), axis.count - 1) if axis.values and axis.count else u
                for axis, u in found}  # fmt: skip

    def _point(self, parameters: dict[str, Any]) -> Point:
        return tuple(
            (parameters[axis.name] + 0.5) / len(axis.values) if axis.values else float(parameters[axis.name])
            for axis in self._axes
        )


def optuna() -> Any:
    """Return the module; a UsageError that says what to install where it is missing."""
    try:
        import optuna as found
    except ImportError as error:
        raise UsageError(
            f"the bayesian sampler needs Optuna ({error}): pip install 'robustreg[tune]', or use --sampler random"
        ) from error
    return found


@contextmanager
def _quiet(module: Any) -> Iterator[None]:
    """Without a line on standard error for every study that is made."""
    before = module.logging.get_verbosity()
    module.logging.set_verbosity(module.logging.WARNING)
    try:
        yield
    finally:
        module.logging.set_verbosity(before)


BAYESIAN = SamplerSource("bayesian", BayesianSampler, True, "Optuna's tree-structured Parzen estimator.")
