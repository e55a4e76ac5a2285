"""The tables of a study as CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import shown

if TYPE_CHECKING:
    from ..study import Comparison

# A spreadsheet runs text that begins with one of these as a formula, and skips what cannot be seen before it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

_SUMMARY = ("mean", "sd", "low", "high", "n")
_AGAINST = ("difference", "d_low", "d_high", "p", "p_adjusted", "detectable", "word")


def results_csv(comparison: Comparison) -> str:
    """Return one row a run: arm, seed, label condition, status, reason, and every measure."""
    rows = comparison.rows()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return to_csv(columns, ([row.get(column) for column in columns] for row in rows))


def summary_csv(comparison: Comparison) -> str:
    """Return one row an arm and measure: the summary over seeds, and the paired difference to the baseline."""
    rows = []
    for arm in comparison.arms:
        for measure, summary in comparison.summaries[arm].items():
            found: Mapping[str, Any] = comparison.differences[arm].get(measure, {})
            against = {**found, "d_low": found.get("low"), "d_high": found.get("high")}
            rows.append([arm, measure, *(summary[key] for key in _SUMMARY), *(against.get(key) for key in _AGAINST)])
    return to_csv(["arm", "measure", *_SUMMARY, *_AGAINST], rows)


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV text; what is missing or not a number is an empty cell, and no text can be run as a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (bool, int, float)):
        return value
    text = "".join(c if c == "\t" else shown(c) for c in str(value))  # which may be looked at in a terminal, too
    first = text.lstrip(" \u00a0\N{REPLACEMENT CHARACTER}")
    return f"'{text}" if text.startswith(_FORMULA) or first.startswith(_FORMULA) else text
