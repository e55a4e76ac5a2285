"""Standard streams as a command needs them: open, and taking every text, whatever the terminal can show."""

from __future__ import annotations

import codecs
import os
import sys

_PLAIN = {"·": "-", "±": "+-", "×": "x", "…": "...", "→": "->", "≤": "<=", "≥": ">="} | dict.fromkeys("─━—–", "-")
_NAME = "robustreg.plain"


def open_streams() -> None:
    """Put the null device where a standard stream was closed: else the next file that is opened, such as a study's
    store, would be taken for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def speak_plainly() -> None:
    """Say in plain signs what the encoding of a stream does not have, in place of failing; `\\u20ac` for other
    letters, as JSON has them."""
    codecs.register_error(_NAME, _plain)
    for stream in (sys.stdout, sys.stderr):
        if not (getattr(stream, "encoding", None) or "utf").lower().startswith("utf"):
            stream.reconfigure(errors=_NAME)  # type: ignore[union-attr]


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or _escaped(sign) for sign in bad), error.end


def _escaped(sign: str) -> str:
    pairs = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pairs[at : at + 2].hex()}" for at in range(0, len(pairs), 2))
