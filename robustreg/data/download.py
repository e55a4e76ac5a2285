"""Downloading one file, so that it is there complete and checked, or not at all."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError, DiskFullError

TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 18


def data_home() -> Path:
    """Return the folder downloads are kept in: ROBUSTREG_DATA, or the user's cache folder."""
    import pooch

    return Path(os.environ.get("ROBUSTREG_DATA") or pooch.os_cache("robustreg")).expanduser()


def fetch(url: str, *, known_hash: str | None, to: Path, max_bytes: int, verify: str | bool = True) -> Path:
    """Download `url` to the file `to` and return it; do nothing if the file is there with the known hash.

    The file appears under its name only when it is complete and has been checked; after a failure nothing is left.
    Nothing is asked for over plain http, also not after a redirect.

    Args:
        url: an https address.
        known_hash: `sha256:...` or `md5:...` (hex) of the file; None when it is not known.
        to: the file to write; its folder is made.
        max_bytes: the most to accept.
        verify: whom to trust: the usual authorities, or a file with certificates.

    Raises:
        DataError: when the file cannot be had, is cut off, is a web page, too large, or has another hash.
        DiskFullError: when there is no room for it.
    """
    import pooch
    import requests

    def download(address: str, output_file: str, _pooch: object) -> None:
        with open(output_file, "wb") as file:
            _receive(address, file, max_bytes, verify)
        _refuse_page(Path(output_file), address)

    try:
        with room_for(to), _quiet(pooch.get_logger()):
            pooch.retrieve(url, known_hash=known_hash, fname=to.name, path=to.parent, downloader=download)
    except requests.RequestException as error:
        raise _failed(url, to, _reason(error)) from error
    except ValueError as error:  # pooch's answer to a wrong hash
        raise _failed(url, to, str(error).split(" Deleted")[0]) from None
    return to


def _receive(url: str, file: BinaryIO, max_bytes: int, verify: str | bool) -> None:
    import requests

    with requests.Session() as session:
        # Without an adapter for plain http, no request can be made over it: not the first, not after a redirect.
        del session.adapters["http://"]
        headers = {"Accept-Encoding": "identity"}  # so that Content-Length counts the bytes of the file
        with session.get(url, stream=True, timeout=TIMEOUT, verify=verify, headers=headers) as response:
            response.raise_for_status()
            if response.headers.get("Content-Encoding", "identity") != "identity":  # could unpack to any size
                raise ValueError("it came compressed, which was not asked for")
            length = response.headers.get("Content-Length", "")
            expected = int(length) if length.isdigit() else None
            received = 0
            if expected is None or expected <= max_bytes:
                for chunk in response.iter_content(_CHUNK):
                    received += len(chunk)
                    if received > max_bytes:
                        break
                    file.write(chunk)
            if max(received, expected or 0) > max_bytes:
                raise ValueError(f"it is larger than the {max_bytes:,} bytes expected at most")
            if expected is not None and received != expected:
                raise ValueError(f"it was cut off after {received:,} of {expected:,} bytes")


def _refuse_page(file: Path, url: str) -> None:
    with file.open("rb") as content:
        start = content.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise ValueError("what came is a web page (HTML), not the file: the file has moved, or asks for a login")


def _failed(url: str, to: Path, why: str) -> DataError:
    return DataError(f"{url} could not be downloaded: {why}. Try again, or download it another way and put it at {to}")


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.exceptions.InvalidSchema):
        return f"only https is allowed, and the address is, or leads to, something else ({error})"
    if isinstance(error, requests.exceptions.SSLError):
        return f"its certificate is not trusted ({error})"
    return str(error)


@contextmanager
def room_for(what: Path) -> Iterator[None]:
    """Turn a full disk into a DiskFullError, and what else the disk refuses into a DataError."""
    import requests

    try:
        yield
    except requests.RequestException:  # is an OSError, and not the disk's
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no room left for {what}; free some, or set ROBUSTREG_DATA to another folder"
            ) from None
        raise DataError(f"{what} cannot be written: {error}; set ROBUSTREG_DATA to a folder that can") from None


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch from writing to stderr: a library does not print."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
