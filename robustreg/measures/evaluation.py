"""Measure a model: every measure that applies, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..attacks.protocols import eps_grid, protocol_attacks
from ..errors import DataError, PluginError, RobustregError, UsageError
from ..plugins import Catalogue, discover
from . import calibration, certified, clean, corruptions, cost, geometry, memorization, norms, robustness, spectral
from .measure import Measure, Value
from .subject import Subject
from .values import EXPECTED, plain_value

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


def measure_all(
    subject: Subject,
    measures: Iterable[Measure] = BUILT_IN,
    *,
    on_error: Callable[[Measure, RobustregError], None] | None = None,
) -> dict[str, Value]:
    """Return the value of every measure that applies to `subject`, by name, in the order of `measures`.

    Args:
        subject: what is measured.
        measures: which ones.
        on_error: told of a measure that failed, whose value is then missing; None to raise its error.

    Raises:
        DataError: for data that cannot be read, which every measure would meet.
        PluginError: when a measure fails, or returns what is no number, naming it.
    """
    found: dict[str, Value] = {}
    for measure in measures:
        try:
            value = _measured(measure, subject)
        except DataError:
            raise
        except RobustregError as error:
            if on_error is None:
                raise
            on_error(measure, error)
            continue
        if value is not None:
            found[measure.name] = value
    return found


def _measured(measure: Measure, subject: Subject) -> Value | None:
    try:
        found = measure.compute(subject)
    except RobustregError:
        raise
    except (Exception, SystemExit) as error:  # a plugin may raise anything
        raise PluginError(f"measure {measure.name!r} failed: {type(error).__name__}: {error}") from error
    try:
        return plain_value(found)
    except TypeError as error:
        raise PluginError(f"measure {measure.name!r} must return {EXPECTED}; got {error}") from error


def evaluate(
    model: nn.Module, splits: Splits, *, measures: Iterable[Measure | str] | None = None, **settings: Any
) -> dict[str, Value]:
    """Return the measures of a model, by name; those that do not apply are left out.

    Args:
        model: from `(batch, *shape)` pixels in [0, 1] to `(batch, classes)` logits; left as it was.
        splits: with the true labels.
        measures: which ones, themselves or by name as for `compare`; default the built-in ones.
        settings: as `subject_of` takes them: seed, device, eps, headline_eps, protocol, norm, and fields of `Subject`.

    Raises:
        UsageError: for a bad setting, a name that no measure has, or a model that does not fit the data.
        PluginError: when a measure fails.
    """
    chosen = BUILT_IN if measures is None else _named(measures)
    return measure_all(subject_of(model, splits, **settings), chosen)


def _named(measures: Iterable[Measure | str]) -> list[Measure]:
    wanted = [measures] if isinstance(measures, (str, Measure)) else list(measures)
    odd = next((one for one in wanted if not isinstance(one, (str, Measure))), None)
    if odd is not None:
        raise UsageError(f"measures are names, or objects of robustreg.measures.Measure; got {odd!r:.80}")
    offered = discover() if any(isinstance(one, str) for one in wanted) else Catalogue()
    return [offered.get("measures", one) if isinstance(one, str) else one for one in wanted]
