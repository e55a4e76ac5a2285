"""The errors a user can meet, each with the exit code the command line returns for it."""

import unicodedata
from difflib import get_close_matches
from typing import Iterable


class RobustregError(Exception):
    """Something a user, a file or a plugin did; shown as one message, never as a traceback."""

    exit_code = 1


class UsageError(RobustregError):
    """A name, value or combination that cannot be used."""

    exit_code = 2


class DataError(RobustregError):
    """Data that is missing, damaged or unusable."""

    exit_code = 3


class PluginError(RobustregError):
    """A plugin that cannot be loaded, or that failed in a hook."""

    exit_code = 4


class StoreError(RobustregError):
    """A study store that is locked, damaged or written by a newer version."""

    exit_code = 5


class DiskFullError(RobustregError):
    """No room left to write a result."""

    exit_code = 6


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name that is closest, or the shortest that begins so, or nothing."""
    names = list(known)
    close = get_close_matches(wrong, names, n=1) or sorted(
        (one for one in names if wrong and one.startswith(wrong)), key=len
    )
    return f" Did you mean {close[0]!r}?" if close else ""


def printable(text: str) -> str:
    """Return text on one line without control characters, which a plugin's message may hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


# Control characters, invisible marks that turn text around, and half characters that no encoding has.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def shown(text: str) -> str:
    """Return text as a terminal can show it without obeying it: only its line ends do what they say.

    Names and messages come from plugins, files and folders, so they may hold escape sequences.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if _obeyed(c) else c for c in text)


def _obeyed(character: str) -> bool:
    return character != "\n" and unicodedata.category(character) in _HIDDEN
