"""What a user types to name data: `digits`, `digits:train=500`, `folder:PATH,size=32`.

    data  := name [":" value] ("," key "=" value)*      or   name ":" key "=" value ("," key "=" value)*

A bare value is the first option of the source. A value reaches up to the next `,key=` or the end, so a path may
contain any of `: , + @` and blanks; only a path that itself contains `,word=` has to be given in Python, as
`load_data("folder", path=...)`.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError, suggest
from ..place import Place
from .dataset import Dataset, DataSource

PARTS = ("train", "val", "test")  # their sizes are options of every data set

_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)=")
_NEXT = re.compile(r",(?=[A-Za-z_][A-Za-z0-9_-]*=)")
_WORDS = {"true": True, "false": False}
_EXAMPLE = "example: folder:PATH,size=32"


@dataclass(frozen=True)
class Option:
    """One thing a user can set about a data set: its name, its type, and its default (None: it has to be given)."""

    name: str
    kind: type[str] | type[int] | type[float] | type[bool]
    default: str | int | float | bool | None

    def convert(self, value: object, owner: str) -> str | int | float | bool:
        """Return a value given in Python or as text in the option's type, or raise a UsageError."""
        made: object = value
        if self.kind is bool:
            made = _WORDS.get(value, value) if isinstance(value, str) else value
        elif self.kind is str:
            made = os.fspath(value) if isinstance(value, os.PathLike) else value
            if isinstance(value, bool | int | float):
                made = str(value).lower()  # stream=True, channels=3
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                made = self.kind(value)
            except ValueError:
                made = value
            if isinstance(value, float) and made != value:  # no silent 32.5 -> 32
                made = value
        if type(made) is not self.kind:
            raise UsageError(f"{owner}: {self.name} must be {_IN_WORDS[self.kind]}, got {value!r}")
        assert isinstance(made, str | int | float)
        return made


_IN_WORDS: Mapping[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_SIZES = {part: Option(part, int, 0) for part in PARTS}


def options_of(source: DataSource) -> dict[str, Option]:
    """Return the options a user can type for a source, in order: the plain parameters of its `load`."""
    found = {}
    for name, parameter in inspect.signature(source.load, eval_str=True).parameters.items():
        required = parameter.default is parameter.empty
        kind = type(parameter.default) if parameter.annotation is parameter.empty else parameter.annotation
        if kind in _IN_WORDS:
            found[name] = Option(name, kind, None if required else parameter.default)
    return found


def parse(text: str, sources: Mapping[str, DataSource]) -> tuple[str, dict[str, Any]]:
    """Return the name and the options that `text` says, the options in their types.

    Args:
        text: what was typed.
        sources: the sources there are, by name.

    Raises:
        UsageError: for an unknown name or key, a repeated key, or a value that does not fit; the column is marked.
    """
    name, colon, rest = text.partition(":")
    if name not in sources:
        first, comma, _ = text.partition(",")
        if comma and first in sources:
            raise Place(text, len(first), len(first) + 1).error(
                f"options come after a colon: {first}:{text[len(first) + 1 :]}", _EXAMPLE
            )
        known = ", ".join(sources)
        message = f"there is no data set {name!r}; there are {known}.{suggest(name, sources)}"
        raise Place(text, 0, len(name)).error(message, _EXAMPLE)
    options = {**options_of(sources[name]), **_SIZES}
    values: dict[str, Any] = {}
    at = len(name) + 1
    for number, chunk in enumerate(_NEXT.split(rest) if colon else []):
        place = Place(text, at, at + len(chunk))
        at += len(chunk) + 1
        match = _KEY.match(chunk)
        key = match[1].replace("-", "_") if match else next(iter(options))
        value = chunk[match.end() :] if match else chunk
        if not match and (number or key in PARTS):
            raise place.error(f"{name}: give options as key=value: {', '.join(options)}", _EXAMPLE)
        if key not in options:
            raise place.error(
                f"{name} has no option {key!r}; it has {', '.join(options)}.{suggest(key, options)}", _EXAMPLE
            )
        if key in values:
            raise place.error(f"{name}: {key} is given twice", _EXAMPLE)
        if not value:
            raise place.error(f"{name}: {key} has no value", _EXAMPLE)
        try:
            values[key] = options[key].convert(value, name)
        except UsageError as error:
            raise place.error(str(error), _EXAMPLE) from None
    return name, values


def load_with(source: DataSource, values: Mapping[str, Any], say: Callable[[str], None] | None = None) -> Dataset:
    """Return the data set of `source` with these options; `say` shows the user what the source has to say.

    Raises:
        UsageError: for an option the source does not have, one that is missing, or a value of another type.
    """
    options = options_of(source)
    for key in values:
        if key not in options:
            known = ", ".join([*options, *PARTS])
            raise UsageError(f"data {source.name} has no option {key!r}; it has {known}.{suggest(key, options)}")
    for option in options.values():
        if option.default is None and option.name not in values:
            raise UsageError(f"data {source.name} needs {option.name}, for example {source.name}:{option.name.upper()}")
    arguments = {key: options[key].convert(value, f"data {source.name}") for key, value in values.items()}
    return source.load(**arguments, **says(source.load, say))


def says(function: Callable[..., Any], say: Callable[[str], None] | None) -> dict[str, Any]:
    """Return `say` as a keyword argument for `function`, if there is one and the function takes it."""
    return {"say": say} if say is not None and "say" in inspect.signature(function).parameters else {}


def size_of(part: str, size: object) -> int | None:
    """Return a part's size as a whole number, None for the default; a UsageError for anything else."""
    return None if size is None else int(_SIZES[part].convert(size, "data"))
