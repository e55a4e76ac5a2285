"""What the tables say: one number against another, as a direction that a study can find again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ..errors import DataError, UsageError
from .rows import CLAIMS, EVIDENCE, Row, load, read

DIRECTIONS = ("higher", "lower", "same")
COLUMNS = ["id", "says", "row", "direction", "against"]


@dataclass(frozen=True)
class Claim:
    """The accuracy of one row is higher than, lower than, or about the same as that of another.

    Attributes:
        id: what studies call it.
        says: the claim in words.
        row: one number; an error counts as the accuracy that is left.
        direction: where it lies, seen from `against`: higher, lower or same.
        against: the other number.
    """

    id: str
    says: str
    row: Row
    direction: str
    against: Row

    @property
    def evidence(self) -> str:
        """Return the weaker evidence of the two rows."""
        order = list(EVIDENCE)
        return max(self.row.evidence, self.against.evidence, key=order.index)

    @property
    def difference(self) -> float | None:
        """Return the accuracy of the row minus that of the other in points; None without digits."""
        left, right = self.row.accuracy, self.against.accuracy
        return None if left is None or right is None else left - right


@cache
def claims() -> dict[str, Claim]:
    """Return all claims by id.

    Raises:
        DataError: for a claim about a row that is not there, twice the same id, or an unknown direction.
    """
    found: dict[str, Claim] = {}
    for line in read(CLAIMS, COLUMNS):
        name, direction = line["id"], line["direction"]
        if name in found or direction not in DIRECTIONS:
            raise DataError(f"claims.csv: {name} must occur once and be one of {', '.join(DIRECTIONS)}")
        found[name] = Claim(name, line["says"], _find(line["row"]), direction, _find(line["against"]))
    return found


def _find(address: str) -> Row:
    """Return the row at `table:id`."""
    table, _, name = address.partition(":")
    try:
        rows = load(table)
    except UsageError as error:
        raise DataError(f"claims.csv: {error}") from error
    for row in rows:
        if row.id == name:
            return row
    raise DataError(f"claims.csv: {table}.csv has no row {name!r}")
