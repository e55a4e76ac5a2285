"""Strict JSON of a study: no NaN, no infinity, which JSON has not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..study import Comparison


def to_json(study: Comparison | Mapping[str, Any] | Sequence[Any]) -> str:
    """Return a comparison, or any plain values, as JSON that every reader takes; what is not finite becomes null."""
    values = study if isinstance(study, (Mapping, Sequence)) else study.to_dict()
    return json.dumps(_strict(values), indent=1, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _strict(each) for key, each in value.items()}
    if isinstance(value, (Sequence, Set)):
        return [_strict(each) for each in value]
    if hasattr(value, "tolist"):  # an array or a tensor, whatever made it
        return _strict(value.tolist())
    return str(value)
