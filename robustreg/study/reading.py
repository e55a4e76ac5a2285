"""Reading the store of a study, also while a coordinator writes to it; nothing is written."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, StoreError
from .disk import check_confined, on_disk
from .lock import Holder
from .record import Record

SCHEMA = 2  # 1: rows without status and checksum
IDENTITY = re.compile(r"[A-Za-z0-9_-]{1,100}")


class NewerStoreError(StoreError):
    """A newer robustreg wrote the store."""


class DamagedRowError(StoreError):
    """The row of a run is not what was written."""


@dataclass(frozen=True)
class Row:
    """What a store tells of a run without reading all of it: identity, when it was finished (seconds since 1970), and
    its status."""

    id: str
    finished: float
    status: str


def text_of(raw: bytes) -> str:
    """Return a text of the database; one that is none any more has another checksum, and spoils no other row."""
    return raw.decode(errors="replace")


def row_hash(identity: str, text: str) -> str:
    """Return the checksum of a row."""
    return hashlib.sha256(f"{identity}\n{text}".encode()).hexdigest()


class Reading:
    """The finished runs of a study.

    Args:
        folder: of the study.

    Raises:
        StoreError: for a folder without a store, and a store that is damaged or from a newer version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        check_confined(self.folder)
        if not self.path.is_file():
            raise StoreError(f"{self.folder} holds no study: there is no study.db in it")
        with on_disk(self.folder):
            self._connect(alone=not self._written)
        self.version = self._check_version()

    @property
    def path(self) -> Path:
        """Where the database is."""
        return self.folder / "study.db"

    @property
    def _written(self) -> bool:
        return self.path.with_name("study.db-wal").exists()

    def _connect(self, *, alone: bool) -> None:
        # What nobody writes to is opened as immutable, since else SQLite would put files of its own beside it.
        self._alone = alone
        uri = f"{self.path.resolve().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
        self._db = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)
        self._db.text_factory = text_of

    def _check_version(self) -> int:
        version = int(self._read("PRAGMA user_version")[0][0])
        if version > SCHEMA:
            self.close()
            raise NewerStoreError(
                f"{self.folder} was written by a newer robustreg (its store has schema {version}, this one knows"
                f" {SCHEMA}); update robustreg: pip install -U robustreg. Nothing was changed"
            )
        return version

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with on_disk(self.folder):
            try:
                found = self._db.execute(query, values).fetchall()
            except sqlite3.DatabaseError:
                if not (self._alone and self._written):
                    raise
            if self._alone and self._written:  # somebody began to write meanwhile, so what was read may be torn
                self._db.close()
                self._connect(alone=False)
                found = self._db.execute(query, values).fetchall()
        return found

    @property
    def _columns(self) -> str:
        return "status, sha256" if self.version > 1 else "NULL, NULL"

    def get(self, identity: str) -> Record | None:
        """Return the run with this identity, whatever its status; None if there is none.

        Raises:
            DamagedRowError: when its row is not what was written.
        """
        rows = self._read(f"SELECT record, {self._columns} FROM runs WHERE id = ?", (identity,))
        return self._record(identity, *rows[0]) if rows else None

    def _record(self, identity: str, text: str, status: str | None, checksum: str | None) -> Record:
        try:
            if checksum is not None and row_hash(identity, text) != checksum:
                raise ValueError("its checksum is another")
            record = Record.from_json(text)
            if record.id != identity or status not in (None, record.status):
                raise ValueError("it contradicts itself")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedRowError(f"{self.folder}: the record of run {identity} is damaged: {error}") from error
        return record

    def rows(self) -> list[Row]:
        """Return identity, time and status of every run in the store."""
        if self.version > 1:
            found = self._read("SELECT id, finished, status, CASE WHEN status IS NULL THEN record END FROM runs")
        elif self.version == 1:
            found = self._read("SELECT id, finished, NULL, record FROM runs")
        else:
            return []  # a store that was cut off while it was made
        return [Row(id, finished if isinstance(finished, float) else 0.0,  # a column of SQLite holds what it was given
                    status or self._record(id, text, None, None).status)
                for id, finished, status, text in found]  # fmt: skip

    def records(self) -> Iterator[Record | DamagedRowError]:
        """Yield every run, and in the place of one whose row is damaged, the error that says so."""
        for row in self._read(f"SELECT id, record, {self._columns} FROM runs ORDER BY rowid") if self.version else ():
            try:
                yield self._record(*row)
            except DamagedRowError as error:
                yield error

    def holder(self) -> Holder | None:
        """Return who coordinates the study, or did and was killed; None where nobody does, or nobody that could be."""
        rows = self._read("SELECT pid, host, started, since FROM coordinator") if self.version > 1 else ()
        kinds = (int, str, str, float)  # a column of SQLite holds what it was given
        known = all(isinstance(value, kind) for row in rows for value, kind in zip(row, kinds, strict=True))
        return Holder(*rows[0]) if rows and known else None

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with the file itself; nothing where it is sound."""
        return [text for (text,) in self._read("PRAGMA integrity_check(10)") if text != "ok"]

    def sound(self, identity: str) -> Record | None:
        """Return the run with this identity if row and model file are what was written; None to do it again."""
        try:
            record = self.get(identity)
            if record is not None and record.model_sha256:
                self.model(record)
        except (DataError, DamagedRowError):
            return None
        return record

    def model(self, record: Record) -> bytes:
        """Return the model file of a run; a DataError when it is missing or is not what was written."""
        from .. import checkpoint

        path = self.model_path(record.id)
        if path.is_symlink():
            raise DataError(f"model file {path} is a link, which is not followed; remove it and train the run again")
        return checkpoint.checked(path, record.model_sha256)

    def model_path(self, identity: str) -> Path:
        """Return where the model of a run is; a StoreError for an identity that would lead elsewhere."""
        return self._path("models", identity)

    def checkpoint(self, identity: str) -> bytes:
        """Return what a run that was cut off goes on from, see `states`; nothing where it begins anew.

        What is there and is damaged, or of another run, is as if it were not there.
        """
        try:
            return self._whole_checkpoint(identity)
        except (DataError, OSError):
            return b""

    def begun(self) -> set[str]:
        """Return the identity of every run that has a checkpoint, whether sound or not."""
        return {path.stem for path in (self.folder / "checkpoints").glob("*.safetensors")}

    def checkpoint_problem(self, identity: str) -> str:
        """Say what is wrong with a checkpoint; nothing where it is sound, or gone since its run is finished."""
        try:
            self._whole_checkpoint(identity)
        except FileNotFoundError:
            return ""
        except (DataError, StoreError, OSError) as error:
            return f"the checkpoint of run {identity} is of no use: {error}; the run will begin anew"
        return ""

    def checkpoint_path(self, identity: str) -> Path:
        """Return where the checkpoint of a run is; a StoreError for an identity that would lead elsewhere."""
        return self._path("checkpoints", identity)

    def _whole_checkpoint(self, identity: str) -> bytes:
        from .. import states

        path = self.checkpoint_path(identity)
        if path.is_symlink():
            raise DataError("it is a link, which is not followed")
        data = path.read_bytes()
        states.check(data, identity)
        return data

    def _path(self, kind: str, identity: str) -> Path:
        if not IDENTITY.fullmatch(identity):
            raise StoreError(f"{self.folder}: {identity!r:.80} is no identity of a run")
        return self.folder / kind / f"{identity}.safetensors"
