"""Published tables: one CSV a paper or benchmark, all with the same columns."""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from ..errors import DataError, UsageError, suggest

EVIDENCE = {
    "verified": "read in the paper, in its abstract, or in what the authors wrote about their code",
    "quoted": "read in another text that quotes the paper",
    "recomputed": "computed anew from the logs that the authors published",
    "memory": "from memory: the direction alone, without digits",
}
UNITS = ("%", "minutes", "hours")
CLAIMS = "claims"  # the one CSV of the folder that has other columns
WRONG = ("error", "attack success")  # what these quantities count is what an accuracy does not


@dataclass(frozen=True)
class Row:
    """One published number, or the place of one that is known by its direction alone.

    Attributes:
        id: what claims call it; no two of a table are the same.
        source: `Author et al, Title, year`, or the repository.
        table: where in it: table, figure, section, or the commit of a file.
        data: data set, with its labels where they are not the true ones.
        model: network.
        training: what it was trained with; `none` is plain training.
        attack: what the images were attacked with; `none` are clean images.
        norm: of the attack; empty where there is none, or where it was not said.
        eps: size of the attack in pixel units as printed, such as `8/255`.
        quantity: accuracy, error, attack success, confidence, training time; a prefix `train` or a suffix after a
            comma says of which images or epochs.
        value: the number as printed, None where only the direction is known.
        unit: `%`, `minutes` or `hours`.
        evidence: how far the number can be trusted, one of `EVIDENCE`.
        note: anything else.
    """

    id: str
    source: str
    table: str
    data: str
    model: str
    training: str
    attack: str
    norm: str
    eps: str
    quantity: str
    value: float | None
    unit: str
    evidence: str
    note: str

    @property
    def size(self) -> float | None:
        """Return eps as a number, None where there is none."""
        return float(Fraction(self.eps)) if self.eps else None

    @property
    def accuracy(self) -> float | None:
        """Return the number as the per cent of images classified right; None if it says nothing about that."""
        if self.value is None or self.unit != "%" or "confidence" in self.quantity:
            return None
        return 100 - self.value if any(word in self.quantity for word in WRONG) else self.value


def tables() -> tuple[str, ...]:
    """Return the names of the tables there are."""
    return tuple(sorted(name for path in _folder().iterdir() if (name := _name(path)) and name != CLAIMS))


@cache
def load(name: str) -> tuple[Row, ...]:
    """Return the rows of a table in the order of the file.

    Raises:
        UsageError: for an unknown name.
        DataError: for a file that has other columns or no number where one belongs.
    """
    if name not in tables():
        raise UsageError(f"no table is called {name!r}; there are {', '.join(tables())}.{suggest(name, tables())}")
    return tuple(_row(line, name) for line in read(name, [field.name for field in fields(Row)]))


def read(name: str, columns: list[str]) -> list[dict[str, str]]:
    """Return the lines of a CSV of this folder by column; a DataError unless it has these columns."""
    reader = csv.DictReader(_folder().joinpath(f"{name}.csv").read_text(encoding="utf-8").splitlines())
    if reader.fieldnames != columns:
        raise DataError(f"{name}.csv must have the columns {', '.join(columns)}, got {reader.fieldnames}")
    lines = list(reader)
    for number, line in enumerate(lines, 2):
        if None in line or None in line.values():
            raise DataError(f"{name}.csv, line {number}: {len(columns)} values are needed, one a column")
    return lines


def _row(line: dict[str, str], name: str) -> Row:
    try:
        value = float(line["value"]) if line["value"] else None
        row = Row(**{**line, "value": value})  # type: ignore[arg-type]
        row.size  # noqa: B018 - an eps that is no number is found here
    except (ValueError, ZeroDivisionError) as error:
        raise DataError(f"{name}.csv, {line['id']}: value and eps must be numbers: {error}") from error
    return row


def _name(path: Traversable) -> str:
    return path.name.removesuffix(".csv") if path.name.endswith(".csv") else ""


def _folder() -> Traversable:
    return resources.files(__package__)
