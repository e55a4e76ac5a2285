"""The folder through which a coordinator and its jobs talk: private, swept, and gone at the end."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from robustreg.errors import UsageError
from robustreg.study.disk import on_disk, write_whole
from robustreg.study.lock import Holder

from .scheduler import scancel

BEAT = 20.0  # seconds between two signs of life of the coordinator
DEAF = 300.0  # seconds without an answer of the file system after which the coordinator gives up
GIVEN_UP = 3600.0  # seconds without one after which files of a coordinator on another machine are swept
HOLDER, HEART, WORK = "coordinator.json", "heartbeat", "work"
PREFIX = "robustreg-"


class Folder:
    """A folder of its own for one coordinator, in one that several may share.

    Args:
        base: the shared one; made if it is not there.
        cluster: the cluster whose jobs it is for.

    Attributes:
        name: of the folder, and of its jobs: no other has it.
        path: the folder.
        desk: the folder in it for what jobs hand in.

    Raises:
        UsageError: for a base that others could write to.
    """

    def __init__(self, base: str | Path, cluster: str) -> None:
        self._base = Path(base).absolute()
        self.name = PREFIX + secrets.token_hex(8)
        self.path = self._base / self.name
        self.desk = self.path / "desk"
        self.holder = Holder.me()
        with on_disk(self._base):
            _private(self._base)
            sweep(self._base)
            self.path.mkdir(mode=0o700)
            self.desk.mkdir(mode=0o700)
            write_whole(self.path / HOLDER, json.dumps({**vars(self.holder), "cluster": cluster}).encode())
            (self.path / HEART).touch()
        self._answered = time.monotonic()
        self._quiet = threading.Event()
        self._heart = threading.Thread(target=self._live, name="heartbeat", daemon=True)
        self._heart.start()

    def _live(self) -> None:
        while not self._quiet.wait(BEAT):
            with suppress(OSError):  # a file system that does not answer now may do so at the next beat
                os.utime(self.path / HEART)

    def names(self) -> set[str] | None:
        """Return the names of what jobs have handed in so far; None while the file system does not answer.

        Raises:
            StoreError: when it has not answered for `DEAF` seconds.
        """
        try:
            os.chmod(self.desk, 0o700)  # a change of the folder makes NFS ask its server for what is in it
            names = set(os.listdir(self.desk))
        except OSError:
            with on_disk(self.desk):
                if time.monotonic() - self._answered > DEAF:
                    raise
            return None
        self._answered = time.monotonic()
        return names

    def remove(self) -> None:
        """Remove the folder, and the one around it where nothing else is in it."""
        self._quiet.set()
        self._heart.join()
        _remove(self.path)
        with suppress(OSError):
            self._base.rmdir()


def sweep(base: Path) -> None:
    """End the jobs, and remove the files, of coordinators that are gone: killed, or with their machine."""
    for path, holder, cluster in list(_others(base)):
        runs = holder.runs
        if runs or (runs is None and not _silent(path)):
            continue
        if cluster == "slurm":
            scancel(path.name)
        _remove(path)


def _others(base: Path) -> Iterator[tuple[Path, Holder, str]]:
    for path in base.glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError, KeyError, TypeError):  # it is being made in this moment, or is not ours
            about = json.loads((path / HOLDER).read_bytes())
            cluster = str(about.pop("cluster"))
            yield path, Holder(**about), cluster


def _silent(path: Path) -> bool:
    """Whether a coordinator has given no sign of life for long, by the clock of the file system."""
    probe = path / "now"
    with suppress(OSError):
        probe.touch()
        return probe.stat().st_mtime - (path / HEART).stat().st_mtime > GIVEN_UP
    return False


def _private(base: Path) -> None:
    """Make a folder, or refuse one in which somebody else could put a file: what is in it is unpickled."""
    if "%" in str(base):
        raise UsageError(f"engine slurm cannot use {base}: to Slurm, % stands for a number; name another: folder=PATH")
    with suppress(FileExistsError):
        base.mkdir(mode=0o700, parents=True)
    found = base.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"engine slurm needs a folder for its files, and {base} is a file; name another: folder=PATH")
    if found.st_uid != os.getuid():
        raise UsageError(
            f"engine slurm does not use {base}, which belongs to user {found.st_uid} and not to you: what is in it is"
            " run as code; name a folder of your own: folder=PATH"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"engine slurm does not use {base}, to which others may write: what is in it is run as code; say"
            f" `chmod 700 {base}`, or name another: folder=PATH"
        )


def _remove(path: Path) -> None:
    """Remove a folder into which a job that is being ended may still write."""
    for _ in range(10):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.05)
