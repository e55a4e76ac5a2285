"""Measures: what a trained model is like, in numbers, and whether they may be believed."""

from __future__ import annotations

from collections.abc import Iterable

from ..hookspecs import hookimpl
from .calibration import expected_calibration_error
from .certified import sandwich
from .chance import chance_band
from .evaluation import BUILT_IN, evaluate, measure_all, subject_of
from .measure import Measure, Value
from .norms import frobenius_norm
from .robustness import area
from .subject import Subject
from .together import attack_together
from .trust import Flag, trust_flags

__all__ = [
    "BUILT_IN",
    "Flag",
    "Measure",
    "Subject",
    "Value",
    "area",
    "attack_together",
    "chance_band",
    "evaluate",
    "expected_calibration_error",
    "frobenius_norm",
    "measure_all",
    "sandwich",
    "subject_of",
    "trust_flags",
]


@hookimpl
def measures() -> Iterable[Measure]:
    """Offer the built-in measures."""
    return BUILT_IN
