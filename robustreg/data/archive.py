"""Unpacking archives that nobody vouches for."""

from __future__ import annotations

import bz2
import gzip
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import IO, NamedTuple, Protocol, cast

from ..errors import DataError
from .download import room_for

MAX_MEMBERS = 500_000
MAX_BYTES = 8 << 30
_CHUNK = 1 << 18
_AT_ONCE = 1 << 20
_PADDING = 1 << 24  # bytes after the end mark of a tar archive
_ZIPPED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Member(NamedTuple):
    name: str
    kind: str  # "file", "folder", or what it is instead
    open: Callable[[], IO[bytes] | None]  # None for what is no file


def unpack(archive: Path, folder: Path, *, max_members: int = MAX_MEMBERS, max_bytes: int = MAX_BYTES) -> Path:
    """Unpack a zip or tar archive into the new folder `folder` and return it: all of it, or nothing.

    Only plain files and folders inside `folder` are accepted. No link, no device, no `..`, no absolute name: an archive
    that has one is refused as a whole, since it was made to harm or is broken.

    Args:
        archive: the file, .zip or .tar, the latter also as .gz or .bz2.
        folder: must not exist.
        max_members: most files and folders in it.
        max_bytes: most bytes of all files together, counted while they are unpacked.

    Raises:
        DataError: for an archive that is damaged, refused, or over a limit.
        DiskFullError: when there is no room.
    """
    if folder.exists():
        raise DataError(f"{archive} is not unpacked: {folder} exists already; take it away first")
    with room_for(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            inside = Path(temporary) / "unpacked"
            inside.mkdir()
            left = max_bytes
            try:
                for number, member in enumerate(_members(archive)):
                    if number >= max_members:
                        raise DataError(f"{archive} holds more than {max_members:,} members; it is not unpacked")
                    target = _target(archive, inside, member)
                    if member.kind == "folder":
                        target.mkdir(parents=True, exist_ok=True)
                        continue
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source = member.open()
                    assert source is not None
                    with source:
                        left -= _copy(source, target, left, archive)
            except _BROKEN as error:
                raise DataError(f"{archive} is damaged: {error}; delete it, so that it is downloaded again") from None
            os.rename(inside, folder)
    return folder


def gunzip(archive: Path, to: Path, *, max_bytes: int = MAX_BYTES) -> Path:
    """Uncompress a .gz file to the file `to` and return it: all of it, or nothing. Errors as `unpack`."""
    with room_for(to), tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as temporary:
        target = Path(temporary) / to.name
        try:
            with gzip.open(archive, "rb") as source:
                _copy(source, target, max_bytes, archive)
        except _BROKEN as error:
            raise DataError(f"{archive} is damaged: {error}; delete it, so that it is downloaded again") from None
        os.replace(target, to)
    return to


def _members(archive: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for info in file.infolist():
                if info.compress_type not in _ZIPPED:  # the others unpack in one go, however much that is
                    raise DataError(f"{archive} is refused: {info.filename!r} is compressed in an uncommon way")
                yield _Member(info.filename, _zip_kind(info), partial(file.open, info))
    elif compression := _tar(archive):
        with compression(archive) as plain, _tarfile(plain) as tar:
            for member in tar:
                kind = "file" if member.isreg() else "folder" if member.isdir() else "link or device"
                yield _Member(member.name, kind, partial(tar.extractfile, member))
            _check_end(tar)
    else:
        raise DataError(f"{archive} is neither a zip nor a tar archive")


_OPENERS: tuple[Callable[[Path], IO[bytes]], ...] = (
    lambda path: path.open("rb"),
    lambda path: cast(IO[bytes], gzip.GzipFile(path)),
    lambda path: cast(IO[bytes], bz2.BZ2File(path)),
)


def _tar(archive: Path) -> Callable[[Path], IO[bytes]] | None:
    """What opens a tar archive; None if it is none."""
    for opener in _OPENERS:
        try:
            with opener(archive) as file, _tarfile(file):
                return opener
        except (*_BROKEN, OSError):
            continue
    return None


def _tarfile(file: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=cast(IO[bytes], _Bounded(file)), mode="r:")


class _Bounded:
    """A file that gives no more than `_AT_ONCE` bytes at once, whatever a header says: tarfile keeps all of those."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int) -> bytes:
        if size > _AT_ONCE:
            raise tarfile.ReadError(f"one of its headers has {size:,} bytes")
        return self._file.read(size)


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise a TarError if the archive stops before its end mark: tarfile takes a cut or a broken header for the end."""
    file = tar.fileobj
    assert file is not None
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends too early, or is broken in the middle")
    left = _PADDING
    while chunk := file.read(_CHUNK):  # to the end, since a compressed file has its check sum there
        left -= len(chunk)
        if left < 0:
            raise tarfile.ReadError("much follows its end mark")


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode and mode not in (stat.S_IFREG, stat.S_IFDIR):
        return "link or device"
    return "folder" if info.is_dir() else "file"


def _target(archive: Path, inside: Path, member: _Member) -> Path:
    # Read as Windows reads it, a name shows what any system could take for a way out: / and \, drives, and ..
    name = PureWindowsPath(member.name)
    if member.kind not in ("file", "folder"):
        raise DataError(f"{archive} is refused: its member {member.name!r} is a {member.kind}")
    if name.drive or name.root or ".." in name.parts or "\0" in member.name:
        raise DataError(f"{archive} is refused: its member {member.name!r} would be written outside of the folder")
    target = inside.joinpath(*name.parts)
    if member.kind == "file" and os.path.lexists(target):
        raise DataError(f"{archive} is refused: its member {member.name!r} occurs twice")
    return target


def _copy(source: _Readable, target: Path, limit: int, archive: Path) -> int:
    """Copy at most `limit` bytes to the new file `target` and return how many they were."""
    count = 0
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            count += len(chunk)
            if count > limit:
                raise DataError(f"{archive} unpacks to more bytes than the limit; it is not unpacked")
            file.write(chunk)
    return count
