"""What our studies found of the claims, one line a claim, kept beside the study files."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..errors import DataError
from .judge import Finding, Tie

FILE = "measured.csv"


@dataclass(frozen=True)
class Measured:
    """A claim, as a study found it; values are per cent and points, as text, so that a file reads as it was written.

    Attributes:
        study: name of the study file.
        claim: id of the claim.
        left: what was read, of which arm: `fgsm_accuracy of mixup:1`, under labels that are not the true ones in
            brackets.
        right: what it was compared with.
        left_mean: mean over seeds in per cent.
        right_mean: the same of the other.
        difference: left minus right in points, paired.
        low: lower end of the 95 % t interval of the difference.
        high: upper end.
        seeds: how many.
        word: reproduced, contradicted or cannot tell.
    """

    study: str
    claim: str
    left: str
    right: str
    left_mean: str
    right_mean: str
    difference: str
    low: str
    high: str
    seeds: str
    word: str


def measured(study: str, tie: Tie, found: Finding) -> Measured:
    """Return the line of a claim."""
    against = tie.against_measure or tie.measure, tie.against_arm, tie.against_condition or tie.condition
    numbers = (found.left, found.right, found.difference, found.low, found.high)
    left, right, difference, low, high = ("" if one is None else f"{100 * one:.1f}" for one in numbers)
    sides = _side(tie.measure, tie.arm, tie.condition), _side(*against)
    return Measured(study, tie.claim, *sides, left, right, difference, low, high, str(found.seeds), found.word)


def read_measured(folder: str | Path) -> tuple[Measured, ...]:
    """Return the lines of the file in a folder, none if there is no file; a DataError for other columns."""
    path = Path(folder) / FILE
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != _columns():
            raise DataError(f"{path} must have the columns {', '.join(_columns())}, got {reader.fieldnames}")
        return tuple(Measured(**line) for line in reader)


def write_measured(folder: str | Path, lines: Iterable[Measured]) -> None:
    """Put the lines of the studies they are of in the place of what the file had of these, sorted by study."""
    new = list(lines)
    studies = {line.study for line in new}
    kept = [line for line in read_measured(folder) if line.study not in studies]
    with (Path(folder) / FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(line) for line in sorted([*kept, *new], key=lambda line: line.study))


def _side(measure: str, arm: str, condition: str) -> str:
    return f"{measure} of {arm}" + ("" if condition == "true" else f" [{condition}]")


def _columns() -> list[str]:
    return [field.name for field in fields(Measured)]
