"""Save what is sound in the damaged store of a study; the damaged file itself is kept beside the new one."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RobustregError, StoreError
from .disk import DamagedError, check_confined, on_disk
from .folder import read_study
from .pages import rows_of
from .reading import IDENTITY, Reading, row_hash
from .record import Record
from .store import Store

SHOWN = 5  # runs that are named


@dataclass(frozen=True)
class Salvaged:
    """What became of a damaged store.

    Attributes:
        damage: what was wrong with it; empty where it was sound.
        aside: where the damaged file is now; None where it was sound.
        saved: runs that were taken from damaged files.
        again: arm, seed and label condition of the planned runs that are not in the store and will be done again;
            None where `study.json` cannot be read.
    """

    damage: str
    aside: Path | None
    saved: int
    again: list[tuple[str, int, str]] | None

    def __str__(self) -> str:
        if self.aside is None and not self.saved:
            return "The file of the store is sound: there is nothing to salvage."
        said = [f"{self.damage}. It is kept as {self.aside}." if self.aside else "The file of the store is sound."]
        said.append(f"{self.saved} runs were saved.")
        if self.again:
            named = "; ".join(
                f"{arm} · seed {seed} · {condition} labels" for arm, seed, condition in self.again[:SHOWN]
            )
            more = f"; and {len(self.again) - SHOWN} more" if len(self.again) > SHOWN else ""
            said.append(f"{len(self.again)} are done again: {named}{more}.")
        return " ".join(said)


@dataclass(frozen=True)
class _Row:
    id: str
    finished: float
    record: str
    status: str
    sha256: str


def salvage(folder: str | Path) -> Salvaged:
    """Set a damaged `study.db` aside as `study.db.damaged-N`, and make a new one of the runs that are sound in it.

    A run is sound where its row and its model file have the checksums that were written with them. Files that were
    set aside before are looked through, too, so that a salvage that was cut off can be done again.

    Raises:
        StoreError: for a folder without a store, and one that another process works on, that a newer
            robustreg wrote, or that cannot be written to.
        DiskFullError: when there is no room; nothing is lost.
    """
    home = Path(folder)
    check_confined(home)
    path = home / "study.db"
    sources = [*sorted(home.glob("study.db.damaged-*[0-9]")), *([path] if path.is_file() else [])]
    if not sources:
        raise StoreError(f"{home} holds no study: there is no study.db in it")
    damage = _damage(home) if path.is_file() else f"{path} is missing"
    rows, tested = _sound(home, sources)
    aside = _set_aside(path) if damage and path.is_file() else None
    with Store(home) as store, store.coordinated():
        known = {record.id for record in store.records() if isinstance(record, Record)}
        fresh = [row for row in rows.values() if row.id not in known]
        store.restore([(row.id, row.finished, row.record, row.status, row.sha256) for row in fresh], tested)
        kept = known | rows.keys()
    again = None
    with suppress(RobustregError):
        again = [(arm, seed, condition) for arm, seed, condition, identity in read_study(home).runs
                 if identity not in kept]  # fmt: skip
    return Salvaged(damage, aside, len(fresh), again)


def _damage(home: Path) -> str:
    """What is wrong with the file of a store; empty where it is sound."""
    path = home / "study.db"
    try:
        with Reading(home) as store:
            holder = store.holder()
            if holder is not None and holder.runs:
                raise StoreError(f"{home} is being worked on by {holder}. Wait for it")
            for _ in store.records():
                pass  # whatever SQLite says of any of them
            found = store.damage() or ([] if store.version else ["it has no version"])
            return f"{path} is damaged: {'; '.join(found)}" if found else ""
    except DamagedError as error:  # not one that is locked, or that may not be written to: that one is sound
        return str(error).partition("; ")[0]


def _sound(home: Path, sources: list[Path]) -> tuple[dict[str, _Row], set[tuple[str, int, str]]]:
    """The last sound row of each run, and what was tested on test images, in all these files."""
    rows: dict[str, _Row] = {}
    tested: set[tuple[str, int, str]] = set()
    for path in sources:
        for values in _values(path):
            if _is_test(values):
                tested.add(values)
            row = _row(values)
            if row is not None and (row.id not in rows or rows[row.id].finished < row.finished):
                rows[row.id] = row
    return {row.id: row for row in rows.values() if _model_is_sound(home, row)}, tested


def _values(path: Path) -> Iterator[tuple[Any, ...]]:
    with on_disk(path.parent):
        log = path.with_name(f"{path.name}-wal")
        yield from rows_of(path.read_bytes(), log.read_bytes() if log.is_file() else b"")


def _row(values: tuple[Any, ...]) -> _Row | None:
    """A run whose row is what was written; None for any other row."""
    if len(values) < 5 or not isinstance(values[1], (int, float)):
        return None
    if not all(isinstance(values[at], str) for at in (0, 2, 3, 4)) or not math.isfinite(values[1]):
        return None
    row = _Row(values[0], float(values[1]), *values[2:5])
    if not IDENTITY.fullmatch(row.id) or row_hash(row.id, row.record) != row.sha256:
        return None
    try:
        record = Record.from_json(row.record)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return row if (record.id, record.status) == (row.id, row.status) else None


def _is_test(values: tuple[Any, ...]) -> bool:
    kinds = [type(value) for value in values] == [str, int, str]
    return kinds and values[0].startswith("{") and IDENTITY.fullmatch(values[2]) is not None


def _model_is_sound(home: Path, row: _Row) -> bool:
    wanted = Record.from_json(row.record).model_sha256
    if not wanted:
        return True
    path = home / "models" / f"{row.id}.safetensors"
    try:
        data = b"" if path.is_symlink() else path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(data).hexdigest() == wanted


def _set_aside(path: Path) -> Path:
    """Give a damaged file, and what SQLite keeps beside it, another name; nothing is deleted."""
    number = next(n for n in itertools.count(1) if not [*path.parent.glob(f"{path.name}.damaged-{n}*")])
    away = path.with_name(f"{path.name}.damaged-{number}")
    with on_disk(path.parent):
        for end in ("-wal", "-shm", ""):  # the log first: it must never meet another database
            with suppress(FileNotFoundError):
                path.with_name(path.name + end).rename(away.with_name(away.name + end))
    return away
