"""Pointing at a column of what a user typed."""

from __future__ import annotations

from typing import NamedTuple

from .errors import UsageError


class Place(NamedTuple):
    """The characters `start` to `end` (not included) of a typed text, counted from 0."""

    text: str
    start: int
    end: int

    @property
    def typed(self) -> str:
        """What is written there."""
        return self.text[self.start : self.end]

    @property
    def quoted(self) -> str:
        """What is written there, in quotes, and not more than 40 characters of it."""
        return repr(self.typed if len(self.typed) <= 40 else f"{self.typed[:37]}...")

    def error(self, message: str, hint: str = "") -> UsageError:
        """Return, for raising, the error that marks this place; see `mark`."""
        return UsageError(mark(*self, message, hint))

    def cut(self, separator: str) -> tuple[Place, Place | None]:
        """Return the parts before and after the first `separator`, or all of it and None."""
        at = self.text.find(separator, self.start, self.end)
        if at < 0:
            return self, None
        return Place(self.text, self.start, at), Place(self.text, at + len(separator), self.end)


NOWHERE = Place("", 0, 0)  # the place of what was built in Python and not typed


def mark(text: str, start: int, end: int, message: str, hint: str = "") -> str:
    """Return three lines: the message, the text, and `^^^` under the characters `start` to `end`, with the hint.

    Of a long text only the part around `start` is shown. Without a text, as for `NOWHERE`, there is one line.
    """
    if not text:
        return f"{message}; {hint}" if hint else message
    left = max(0, start - 40)
    right = left + 100
    # One character each, so that the marks stay below what they mark.
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[left:right])
    before, after = "..." if left else "", "..." if right < len(text) else ""
    pad = " " * (len(before) + start - left)
    marks = "^" * max(1, min(end, right) - start)
    return f"{message}\n  {before}{shown}{after}\n  {pad}{marks}  {hint}".rstrip()
