"""Measure a model: every measure that applies, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..attacks.protocols import eps_grid, protocol_attacks
from ..errors import PluginError, RobustregError, UsageError
from . import calibration, certified, clean, corruptions, cost, geometry, memorization, norms, robustness, spectral
from .measure import Measure, Value
from .subject import Subject

if TYPE_CHECKING:
    from ..data.split import Splits

THEMES = (clean, memorization, robustness, certified, corruptions, geometry, norms, spectral, calibration, cost)
BUILT_IN: tuple[Measure, ...] = tuple(measure for theme in THEMES for measure in theme.MEASURES)


def subject_of(
    model: nn.Module,
    splits: Splits,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    eps: Sequence[float] | None = None,
    headline_eps: float | None = None,
    protocol: str = "quick",
    norm: str = "linf",
    **fields: Any,
) -> Subject:
    """Return the subject of a model under a protocol.

    Args:
        model: from `(batch, *shape)` pixels in [0, 1] to `(batch, classes)` logits; left as it was.
        splits: with the true labels.
        seed: decides what is random in the attacks.
        device: where to measure, on a copy of the model if it is elsewhere; default where the model is.
        eps: the grid in pixel units; default that of the data set.
        headline_eps: the eps that is reported; default that of the data set, or what is nearest to it in `eps`.
        protocol: "quick", "standard" or "paper": which attacks are trusted.
        norm: "linf" or "l2".
        fields: other fields of `Subject`.

    Raises:
        UsageError: for an unknown protocol, norm or field.
    """
    grid, headline = eps_grid(splits.name, splits.shape, norm)
    if eps is not None:
        grid = tuple(float(value) for value in eps)
        headline = min((value for value in grid if value > 0), key=lambda value: abs(value - headline), default=0.0)
    unknown = fields.keys() - Subject.__dataclass_fields__.keys()
    if unknown:
        raise UsageError(f"a subject has no field {', '.join(map(repr, sorted(unknown)))}")
    own: dict[str, Any] = {
        "eps_grid": grid,
        "headline_eps": headline if headline_eps is None else float(headline_eps),
        "attacks": protocol_attacks(protocol),
    }
    return Subject(model, splits, seed=seed, device=device, norm=norm, **{**own, **fields})


def measure_all(subject: Subject, measures: Iterable[Measure] = BUILT_IN) -> dict[str, Value]:
    """Return the value of every measure that applies to `subject`, by name, in the order of `measures`.

    Raises:
        PluginError: when a measure fails, naming it.
    """
    found: dict[str, Value] = {}
    for measure in measures:
        try:
            value = measure.compute(subject)
        except RobustregError:
            raise
        except Exception as error:
            raise PluginError(f"measure {measure.name!r} failed: {type(error).__name__}: {error}") from error
        if value is not None:
            found[measure.name] = value
    return found


def evaluate(
    model: nn.Module, splits: Splits, *, measures: Iterable[Measure] | None = None, **settings: Any
) -> dict[str, Value]:
    """Return the measures of a model, by name; those that do not apply are left out.

    Args:
        model: from `(batch, *shape)` pixels in [0, 1] to `(batch, classes)` logits; left as it was.
        splits: with the true labels.
        measures: which ones; default the built-in ones.
        settings: as `subject_of` takes them: seed, device, eps, headline_eps, protocol, norm, and fields of `Subject`.

    Raises:
        UsageError: for a bad setting, or a model that does not fit the data.
        PluginError: when a measure fails.
    """
    return measure_all(subject_of(model, splits, **settings), BUILT_IN if measures is None else measures)
