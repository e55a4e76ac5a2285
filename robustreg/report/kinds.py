"""What kind of regularizer an arm is: that of its regularizers, as their classes say."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from .palette import BASELINE, KINDS, Look

if TYPE_CHECKING:
    from ..study import Comparison

NOTHING, SEVERAL, OTHER = "baseline", "several kinds", "other"


def kinds(comparison: Comparison) -> dict[str, str]:
    """Return the kind of every arm, in the order of the study: "several kinds" for a combination of different ones."""
    return {arm: _kind(comparison, arm) for arm in comparison.arms}


def look_of(kind: str) -> Look:
    """Return colour and marker of a kind; the same in every figure."""
    return BASELINE if kind == NOTHING else KINDS[kind]


def _kind(comparison: Comparison, arm: str) -> str:
    if arm == comparison.arms[0]:
        return NOTHING
    members = next((record.regularizers for record in comparison.of(arm) if record.regularizers), [])
    known = _known()
    found = {known.get(str(member.get("name")), OTHER) for member in members}
    return found.pop() if len(found) == 1 else SEVERAL if found else OTHER


@cache
def _known() -> dict[str, str]:
    """The kind of every regularizer that is installed, by name; of one that says none of ours, "other"."""
    from ..plugins import discover

    offered = discover().offers["regularizers"]
    return {name: one.kind if one.kind in KINDS else OTHER for name, one in offered.items()}
