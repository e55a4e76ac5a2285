"""Rows of an SQLite file that SQLite itself may refuse: read page by page, each row by itself.

What is found is only as true as its checksum says; whoever calls has to look. See https://www.sqlite.org/fileformat.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

Pages = Mapping[int, bytes]
_LEAF = 0x0D  # first byte of a page that holds rows of a table
LARGEST = 2**26  # bytes of a row
_USUAL = 4096  # bytes of a page, where the file no longer says how many
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes of the kinds of whole numbers


def rows_of(database: bytes, journal: bytes = b"") -> Iterator[tuple[Any, ...]]:
    """Yield the values of every row of every table that can be read, also of some that were replaced since.

    Args:
        database: content of the file, whatever has become of it.
        journal: content of the write-ahead log beside it.
    """
    size = _page_size(database)
    pages = {number + 1: database[at : at + size] for number, at in enumerate(range(0, len(database), size))}
    later = pages | _logged(journal, size)
    for view in (pages, later) if journal else (pages,):
        for number in view:
            yield from _rows(view, number, size)


def _page_size(database: bytes) -> int:
    (size,) = struct.unpack_from(">H", database.ljust(18, b"\0"), 16)
    size = 65536 if size == 1 else size
    return size if size >= 512 and size & (size - 1) == 0 else _USUAL


def _logged(journal: bytes, size: int) -> dict[int, bytes]:
    """The pages that a write-ahead log holds, the last of each; those of an earlier use of the log are left out."""
    found: dict[int, bytes] = {}
    for at in range(32, len(journal) - 24 - size + 1, 24 + size):
        if journal[at + 8 : at + 16] != journal[16:24]:  # numbers that each use of the log draws anew
            break
        found[struct.unpack_from(">I", journal, at)[0]] = journal[at + 24 : at + 24 + size]
    return found


def _rows(pages: Pages, number: int, size: int) -> Iterator[tuple[Any, ...]]:
    page = pages[number].ljust(size, b"\0")
    begin = 100 if number == 1 else 0  # the head of the file
    if page[begin] != _LEAF:
        return
    (count,) = struct.unpack_from(">H", page, begin + 3)
    for at in range(begin + 8, min(begin + 8 + 2 * count, size - 1), 2):
        try:
            yield tuple(_values(_payload(pages, page, struct.unpack_from(">H", page, at)[0], size)))
        except (IndexError, ValueError, struct.error, KeyError):
            continue  # it is damaged, or was no row


def _payload(pages: Pages, page: bytes, at: int, size: int) -> bytes:
    """The bytes of a row: those on its page, and those that had no room there."""
    length, at = _varint(page, at)
    _, at = _varint(page, at)  # its number
    if length > min(LARGEST, len(pages) * size):
        raise ValueError("it is longer than the file")  # and its pages may follow each other in a circle
    most, least = size - 35, (size - 12) * 32 // 255 - 23
    if length <= most:
        return page[at : at + length]
    here = least + (length - least) % (size - 4)
    here = here if here <= most else least
    found, (following,) = [page[at : at + here]], struct.unpack_from(">I", page, at + here)
    for _ in range(-(-(length - here) // (size - 4))):
        more = pages[following]
        found.append(more[4:size])
        (following,) = struct.unpack_from(">I", more)
    return b"".join(found)[:length]


def _values(payload: bytes) -> Iterator[Any]:
    end, at = _varint(payload, 0)
    begin = end
    while at < end:
        kind, at = _varint(payload, at)
        length = _INTEGERS.get(kind, 8 if kind == 7 else max(0, kind - 12) // 2)
        raw = payload[begin : begin + length]
        if len(raw) < length:
            raise ValueError("it was cut")
        begin += length
        if kind in (0, 8, 9):
            yield (None, 0, 1)[max(0, kind - 7)]
        elif kind < 7:
            yield int.from_bytes(raw, signed=True)
        elif kind == 7:
            yield struct.unpack(">d", raw)[0]
        else:
            yield raw.decode() if kind % 2 else raw


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where the next begins."""
    value = 0
    for step in range(9):
        byte = data[at + step]
        if step == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + step + 1
    raise AssertionError
