"""The errors a user can meet, each with the exit code the command line returns for it."""

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
    """Return `` Did you mean 'x'?`` for the closest known name, or an empty string."""
    close = get_close_matches(wrong, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def printable(text: str) -> str:
    """Return text on one line without control characters, which a plugin's message may hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
