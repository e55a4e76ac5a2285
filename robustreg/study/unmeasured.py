"""Measures of plugins that failed in runs which are kept without their value: how often, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .record import Record


def failures(records: Sequence[Record]) -> dict[str, tuple[int, str]]:
    """Return in how many of the runs each measure failed, by name, and why it did in the first of them."""
    found: dict[str, tuple[int, str]] = {}
    for record in records:
        reasons = record.details.get("unmeasured")
        for measure, reason in reasons.items() if isinstance(reasons, dict) else ():
            number, first = found.get(measure, (0, str(reason)))
            found[measure] = number + 1, first
    return found


def flags(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return an amber trust flag for each measure that failed in one of the runs of an arm; no other suffers."""
    return [
        {"flag": f"{measure}_failed", "level": "amber", "value": number, "says": _said(number, len(records), reason)}
        for measure, (number, reason) in failures(records).items()
    ]


def sentences(records: Sequence[Record]) -> list[str]:
    """Return what the verdict says of measures that failed."""
    return [_said(number, len(records), reason) for number, reason in failures(records).values()]


def _said(number: int, runs: int, reason: str) -> str:
    return f"Not measured in {number} of {runs} runs, which are kept without it: {reason.rstrip('.')}."
