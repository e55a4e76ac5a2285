"""Files of a study: whole or not at all, inside its folder; and what a disk says, as errors a user can act on."""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DiskFullError, StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
# What SQLite calls a disk I/O error where a file may not grow any more: all there is no room for but its own pages.
_NOT_WRITTEN = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_TRUNCATE,
                sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP)  # fmt: skip


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


def remove_partials(folder: Path, of: str = "*") -> None:
    """Remove what processes that are gone left half written, see `write_whole`; only of files that are called so."""
    for partial in folder.glob(f"{of}.*.partial"):
        if not _being_written(partial):
            partial.unlink(missing_ok=True)


def _being_written(partial: Path) -> bool:
    """Whether the process whose number is in the name is alive."""
    try:
        os.kill(int(partial.suffixes[-2][1:]), 0)
    except (ProcessLookupError, ValueError, IndexError, OverflowError):  # nobody, or no number of a process
        return False
    except PermissionError:
        return True
    return True


def check_confined(folder: Path) -> None:
    """Raise a StoreError where an entry of a study's folder is a link to a place outside it.

    The folder itself may be a link: that one was made by whoever names it.
    """
    home = folder.resolve()
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_symlink() and not entry.resolve().is_relative_to(home):
            raise StoreError(
                f"{entry} is a link to a place outside the study, {entry.resolve()}, which is neither read nor written;"
                " remove the link, or put there what it points at"
            )


class DamagedError(StoreError):
    """The file of a store is not what was written."""


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Turn what the disk and SQLite say into errors a user can act on."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _of_sqlite(error, folder) from error
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(f"no room to write in {folder}: {error.strerror}") from error
        cure = ", or make it writable" if error.errno in _DENIED else ""
        raise StoreError(f"cannot write in {folder}: {error.strerror}; choose another folder{cure}") from error


def _of_sqlite(error: sqlite3.DatabaseError, folder: Path) -> StoreError | DiskFullError:
    """What an error of SQLite means to a user; only what it says of the content of the file is damage."""
    text, extended = str(error), getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    code = extended & 0xFF  # without what SQLite adds to say where it happened
    if code == sqlite3.SQLITE_FULL or extended in _NOT_WRITTEN:
        return DiskFullError(f"no room to write the study store in {folder}: {text}")
    if code == sqlite3.SQLITE_IOERR and extended != sqlite3.SQLITE_IOERR_SHORT_READ:
        where = getattr(error, "sqlite_errorname", "")
        return StoreError(f"the disk of the study store in {folder} fails: {text} ({where}); copy the study to another")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"the study store in {folder} is locked by another process")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return StoreError(
            f"cannot write in {folder}: study.db: {text}; choose another folder, or make it and what is in it writable"
        )
    return DamagedError(
        f"the study store {folder / 'study.db'} is damaged: {text}; to save the runs that are sound in it and do"
        f" the others again: robustreg resume {shlex.quote(str(folder))} --salvage"
    )
