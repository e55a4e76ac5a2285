"""The store of a study: one folder with an SQLite file and a safetensors file for each finished model.

A run is on disk the moment it is finished: its model under its final name, checked by a hash in the store, and then
its row. Nothing half-written ever has a final name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import checkpoint
from ..errors import DataError, DiskFullError, StoreError
from .record import Record

SCHEMA = 1
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Store:
    """Finished runs on disk.

    Args:
        folder: made if it is not there.

    Raises:
        StoreError: for a file that is not a store, is damaged, or comes from a newer version.
        DiskFullError: when nothing more can be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        with on_disk(self.folder):
            (self.folder / "models").mkdir(parents=True, exist_ok=True)
            for partial in (self.folder / "models").glob("*.partial"):
                if not _being_written(partial):  # left by a process that was killed
                    partial.unlink(missing_ok=True)
            self._db = sqlite3.connect(self.folder / "study.db", timeout=30, isolation_level=None)
            self._prepare()

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise StoreError(f"{self.folder} was written by a newer robustreg (schema {version}); update robustreg")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        if version == 0:
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, finished REAL NOT NULL, record TEXT NOT NULL)"
            )
            self._db.execute(f"PRAGMA user_version={SCHEMA}")
        self._db.execute(  # beside the runs, so that an older robustreg, which does not know of it, loses nothing
            "CREATE TABLE IF NOT EXISTS tested (configuration TEXT, seed INTEGER, id TEXT,"
            " PRIMARY KEY (configuration, seed, id))"
        )

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def get(self, identity: str) -> Record | None:
        """Return the run with this identity, whatever its status; None if there is none."""
        with on_disk(self.folder):
            row = self._db.execute("SELECT record FROM runs WHERE id = ?", (identity,)).fetchone()
        if row is None:
            return None
        try:
            return Record.from_json(row[0])
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self.folder}: the record of run {identity} is damaged: {error}") from error

    def put(self, record: Record, model: bytes) -> None:
        """Keep a finished run: first its model file (see `checkpoint`; empty when there is none), then its row."""
        with on_disk(self.folder):
            if model:
                record.model_sha256 = hashlib.sha256(model).hexdigest()
                write_whole(self.model_path(record.id), model)
            row = (record.id, time.time(), record.to_json())
            self._db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", row)

    def tested(self, configuration: str, runs: Iterable[Record] = ()) -> int:
        """Take note that these runs of a configuration were measured on test images, and return how often it was.

        Measuring one run again, as after a crash, tells nothing new and does not count; measuring the configuration
        under other conditions (another eps, protocol, version) does.
        """
        rows = [(configuration, record.seed, record.id) for record in runs]
        with on_disk(self.folder):
            self._db.executemany("INSERT OR IGNORE INTO tested VALUES (?, ?, ?)", rows)
            query = "SELECT count(*) FROM tested WHERE configuration = ? GROUP BY seed ORDER BY 1 DESC"
            row = self._db.execute(query, (configuration,)).fetchone()
        return int(row[0]) if row else 0

    def sound(self, identity: str) -> Record | None:
        """Return the run with this identity if its model file, too, is what was written; None to do it again."""
        record = self.get(identity)
        try:
            if record is not None and record.model_sha256:
                self.model(record)
        except DataError:
            return None
        return record

    def model(self, record: Record) -> bytes:
        """Return the model file of a run; a DataError when it is missing or is not what was written."""
        return checkpoint.checked(self.model_path(record.id), record.model_sha256)

    def model_path(self, identity: str) -> Path:
        """Return where the model of a run is."""
        return self.folder / "models" / f"{identity}.safetensors"


def _being_written(partial: Path) -> bool:
    """Whether the process whose number is in the name, see `write_whole`, is alive."""
    try:
        os.kill(int(partial.suffixes[-2][1:]), 0)
    except (ProcessLookupError, ValueError, IndexError):
        return False
    except PermissionError:
        return True
    return True


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, and survives a power loss once it is there."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise DiskFullError(f"no room to write {path} ({len(data):,} bytes): {error.strerror}") from error
        raise


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Turn what the disk and SQLite say into errors a user can act on."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            raise DiskFullError(f"no room to write the study store in {folder}: {text}") from error
        if "locked" in text:
            raise StoreError(f"the study store in {folder} is locked by another process") from error
        raise StoreError(
            f"the study store {folder / 'study.db'} is damaged: {text}; move it away to start anew"
        ) from error
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(f"no room to write in {folder}: {error.strerror}") from error
        raise StoreError(f"cannot write in {folder}: {error.strerror}") from error
