"""The store of a study: one folder with an SQLite file and a safetensors file for each finished model.

A run is on disk the moment it is finished: its model under its final name, checked by a hash in the store, and then
its row, with a checksum of its own. Nothing half-written ever has a final name.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import RobustregError, StoreError
from .disk import check_confined, on_disk, remove_partials, write_whole
from .lock import Holder
from .reading import SCHEMA, Reading, row_hash, text_of
from .record import Record

__all__ = ["SCHEMA", "Store", "on_disk", "write_whole"]


PATIENCE = 30.0  # seconds to wait for another process that writes


class Store(Reading):
    """Finished runs on disk, to be added to.

    Args:
        folder: made if it is not there.

    Raises:
        StoreError: for a file that is not a store, is damaged, or comes from a newer version.
        DiskFullError: when nothing more can be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        check_confined(self.folder)
        with on_disk(self.folder):
            (self.folder / "models").mkdir(parents=True, exist_ok=True)
            for place in (self.folder, self.folder / "models", self.folder / "checkpoints"):
                remove_partials(place)
            self._alone = False
            self._db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            self._db.text_factory = text_of
            self._check_version()
            self._prepare()
        self.version = SCHEMA

    def _prepare(self) -> None:
        self._keep_a_journal()
        self._db.execute("PRAGMA synchronous=FULL")
        if self._db.execute("PRAGMA user_version").fetchone()[0] < SCHEMA:
            with self._alone_in_it():
                version = self._db.execute("PRAGMA user_version").fetchone()[0]
                if version < SCHEMA:  # nobody was faster
                    if version:
                        write_whole(self.folder / f"study.db.schema-{version}", self._db.serialize())
                    self._upgrade()
        self._db.execute(  # beside the runs, so that an older robustreg, which does not know of it, loses nothing
            "CREATE TABLE IF NOT EXISTS tested (configuration TEXT, seed INTEGER, id TEXT,"
            " PRIMARY KEY (configuration, seed, id))"
        )

    def _keep_a_journal(self) -> None:
        # SQLite does not wait for others here, as it does elsewhere: when several make the store at once, all but one
        # are told that it is locked.
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _upgrade(self) -> None:
        """Make the tables, or add to those of an older version what they lack; no row is rewritten."""
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, finished REAL NOT NULL, record TEXT NOT NULL)"
        )
        for column in ("status", "sha256"):
            self._db.execute(f"ALTER TABLE runs ADD COLUMN {column} TEXT")
        self._db.execute(
            "CREATE TABLE coordinator (one INTEGER PRIMARY KEY CHECK (one = 1), pid INTEGER NOT NULL,"
            " host TEXT NOT NULL, started TEXT NOT NULL, since REAL NOT NULL)"
        )
        self._db.execute(f"PRAGMA user_version={SCHEMA}")

    @contextmanager
    def _alone_in_it(self) -> Iterator[None]:
        """A transaction in which no other process writes."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def __enter__(self) -> Store:
        return self

    @contextmanager
    def coordinated(self, *, take_over: bool = False) -> Iterator[None]:
        """Be the one who coordinates the study until the end of the block.

        A process that held the lock and is gone, killed or with its machine, is followed; so is, with `take_over`, one
        on another machine, of which nobody here can say.

        Raises:
            StoreError: when another process coordinates the study.
        """
        me = Holder.me()
        with on_disk(self.folder), self._alone_in_it():
            other = self.holder()
            runs = other is not None and other.runs
            if other is not None and (runs or (runs is None and not take_over)):
                raise StoreError(f"{self.folder} is being worked on by {other}. {_advice(self.folder, runs)}")
            values = (me.pid, me.host, me.started, me.since)
            self._db.execute("INSERT OR REPLACE INTO coordinator VALUES (1, ?, ?, ?, ?)", values)
        try:
            with on_disk(self.folder):  # left by a process that was cut off between a row and its checkpoint
                for path in (self.folder / "checkpoints").glob("*.safetensors"):
                    if self._read("SELECT 1 FROM runs WHERE id = ? AND status IN ('ok', 'diverged')", (path.stem,)):
                        path.unlink(missing_ok=True)
            yield
        finally:
            with suppress(RobustregError), on_disk(self.folder):  # on a full disk the first error is the one to tell
                self._db.execute("DELETE FROM coordinator WHERE pid = ? AND since = ?", (me.pid, me.since))

    def save(self, identity: str, state: bytes) -> None:
        """Keep what a run that is under way can go on from, see `states`, in the place of what it had before."""
        path = self.checkpoint_path(identity)
        with on_disk(self.folder):
            path.parent.mkdir(exist_ok=True)
            write_whole(path, state)

    def forget(self, identity: str) -> None:
        """Remove the checkpoint of a run, if there is one."""
        with on_disk(self.folder):
            self.checkpoint_path(identity).unlink(missing_ok=True)

    def put(self, record: Record, model: bytes) -> None:
        """Keep a finished run: first its model file (see `checkpoint`; empty when there is none), then its row."""
        with on_disk(self.folder):
            if model:
                record.model_sha256 = hashlib.sha256(model).hexdigest()
                write_whole(self.model_path(record.id), model)
            text = record.to_json()
            row = (record.id, time.time(), text, record.status, row_hash(record.id, text))
            self._db.execute(
                "INSERT OR REPLACE INTO runs (id, finished, record, status, sha256) VALUES (?, ?, ?, ?, ?)", row
            )

    def restore(self, rows: Iterable[tuple[str, float, str, str, str]], tested: Iterable[tuple[str, int, str]]) -> None:
        """Take over rows as they were once written, all or none: runs, and what of them was measured on test images."""
        with on_disk(self.folder), self._alone_in_it():
            self._db.executemany(
                "INSERT OR REPLACE INTO runs (id, finished, record, status, sha256) VALUES (?, ?, ?, ?, ?)", rows
            )
            self._db.executemany("INSERT OR IGNORE INTO tested VALUES (?, ?, ?)", tested)

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


def _advice(folder: Path, runs: bool | None) -> str:
    if runs:
        return f"Wait for it, or look at it: robustreg status {shlex.quote(str(folder))}"
    return (
        "That is another machine or container, which cannot be asked whether it still runs; if it does not, take over:"
        f" robustreg resume {shlex.quote(str(folder))} --take-over"
    )
