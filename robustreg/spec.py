"""What a user types to name regularizers, attacks, models and data: `heavy@l1:1e-3+dropout:0.5`.

    spec  := [label "@"] term ("+" term)*        "+" splits only before a letter, so 1e+3 is safe
    term  := name [":" chunk ("," chunk)*]
    chunk := key "=" value | value               a bare first value is the strength; a further one extends a grid
    value := number | a/b | lo..hi[:n] | true | false | word

The printed form is canonical: two specs are equal exactly when they print the same, and `parse(str(spec)) == spec`.
What a name or a key means is not known here; the places kept beside them let whoever knows point at the column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, product
from typing import Literal

from .errors import UsageError
from .place import NOWHERE, Place
from .place import mark as mark

LONGEST = 5_000  # characters in one spec: keeps every answer quick
MOST_ARMS = 10_000  # specs one grid may become

_EXAMPLE = "example: l1:1e-3+dropout:0.5"
_ILLEGAL = re.compile(r"[^A-Za-z0-9_.,:=+/@-]")
_PLUS = re.compile(r"\+(?=[A-Za-z])")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9][A-Za-z0-9_-]*)*")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_WORD = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
_NUMERIC = re.compile(r"[+-]|\.?[0-9]")  # how a number begins; nothing else begins so
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COUNT = re.compile(r"[1-9][0-9]{0,3}")

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Ratio:
    """Two numbers typed as `a/b`, kept as typed; `float` gives the quotient."""

    numerator: int | float
    denominator: int | float

    def __float__(self) -> float:
        return self.numerator / self.denominator

    def __str__(self) -> str:
        return f"{_show(self.numerator)}/{_show(self.denominator)}"


@dataclass(frozen=True)
class Range:
    """The numbers `low..high`: `count` points of a grid, ends included, or without `count` a range to search."""

    low: int | float | Ratio
    high: int | float | Ratio
    count: int | None = None

    def points(self, scale: Scale = "linear") -> tuple[int | float | Ratio, ...]:
        """Return the `count` points, the ends as typed, those between to 12 digits; `log` needs `low` > 0."""
        if self.count is None:
            raise ValueError(f"the range {self} has no count")  # expand() has the user's error
        log = scale == "log"
        low, high = (math.log(end) if log else float(end) for end in (self.low, self.high))
        parts = [i / (self.count - 1) for i in range(1, self.count - 1)]
        between = [low * (1 - part) + high * part for part in parts]
        return (self.low, *(_tidy(float(f"{math.exp(x) if log else x:.12g}")) for x in between), self.high)

    def __str__(self) -> str:
        return f"{_show(self.low)}..{_show(self.high)}" + ("" if self.count is None else f":{self.count}")


Value = int | float | bool | str | Ratio | Range


@dataclass(frozen=True, eq=False)
class Setting:
    """A key and its values; more than one is a grid. The key None is the bare first value, the strength.

    `at` is the place of the key (of the first value when bare), `values_at` that of each value.
    """

    key: str | None
    values: tuple[Value, ...]
    at: Place = field(default=NOWHERE, repr=False)
    values_at: tuple[Place, ...] = field(default=(), repr=False)

    def place(self, index: int = 0) -> Place:
        """Return the place of one of the values."""
        return self.values_at[index] if self.values_at else self.at

    def __eq__(self, other: object) -> bool:
        # By the printed form, because to Python true is 1.
        return str(self) == str(other) if isinstance(other, Setting) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return ("" if self.key is None else f"{self.key}=") + ",".join(map(_show, self.values))


@dataclass(frozen=True)
class Term:
    """A name and its settings, in the order typed. `at` is the place of the name."""

    name: str
    settings: tuple[Setting, ...] = ()
    at: Place = field(default=NOWHERE, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name}:{','.join(map(str, self.settings))}" if self.settings else self.name


@dataclass(frozen=True)
class Spec:
    """One or more terms, in the order typed, and perhaps a label."""

    terms: tuple[Term, ...]
    label: str | None = None

    def __str__(self) -> str:
        return ("" if self.label is None else f"{self.label}@") + "+".join(map(str, self.terms))


def parse(text: str) -> Spec:
    """Return what `text` says, as `label@name:values+name:values`.

    Raises:
        UsageError: for anything the grammar does not allow, a repeated name or key; the column is marked.
    """
    whole, label = _whole(text), None
    before, after = whole.cut("@")
    if after:
        whole, label = after, before.typed
        if not _LABEL.fullmatch(label):
            raise before.error("a label is letters, digits, '_', '-' and '.'", "example: heavy@l2:1e+3")
    terms: dict[str, Term] = {}
    start = whole.start
    for end in [*(plus.start() for plus in _PLUS.finditer(text, start)), len(text)]:
        term = _term(Place(text, start, end))
        if term.name in terms:
            raise term.at.error(f"{term.at.quoted} is here twice", "each name once, with all its settings")
        terms[term.name], start = term, end + 1
    return Spec(tuple(terms.values()), label)


def parse_term(text: str, *, words: Collection[str] = ()) -> Term:
    """Return the term that `text` is, of a data set, model, attack or engine; values of keys in `words` are as typed.

    Raises:
        UsageError: for anything the grammar does not allow, a label or a second term; the column is marked.
    """
    whole = _whole(text)
    if found := _PLUS.search(text) or re.search("@", text):
        raise Place(text, *found.span()).error("one name with its settings goes here", "example: fgsm:eps=8/255")
    return _term(whole, words)


def expand(
    spec: Spec, *, scale: Callable[[str, str | None], Scale] = lambda name, key: "linear", search: bool = False
) -> list[Spec]:
    """Return the specs with one value a key that the grids and ranges of `spec` stand for, in the order typed.

    Args:
        spec: what was typed; its last grid varies fastest, and a spec that comes out twice is kept once.
        scale: (name, key) to the spacing of a range over it; the key is None for the strength.
        search: leave ranges without a count as they are, for a search over them.

    Raises:
        UsageError: for a range without a count, unless `search`; for a logarithmic range that does not begin above
            0; for more than `MOST_ARMS` specs.
    """
    cells = [(term.name, setting) for term in spec.terms for setting in term.settings]
    counts = (sum(v.count or 1 if isinstance(v, Range) else 1 for v in setting.values) for _, setting in cells)
    if (size := math.prod(counts)) > MOST_ARMS:
        raise UsageError(f"{str(spec)[:40]!r} stands for {size:,} specs; at most {MOST_ARMS:,} are allowed")
    specs: dict[Spec, None] = {}
    for chosen in product(*[list(_single(name, setting, scale, search)) for name, setting in cells]):
        left = iter(chosen)
        terms = tuple(replace(term, settings=tuple(islice(left, len(term.settings)))) for term in spec.terms)
        specs[replace(spec, terms=terms)] = None
    return list(specs)


def _single(name: str, setting: Setting, scale: Callable[[str, str | None], Scale], search: bool) -> Iterator[Setting]:
    """The settings of one value that a grid stands for."""
    for index, value in enumerate(setting.values):
        place = setting.place(index)
        points: tuple[Value, ...] = (value,)
        if isinstance(value, Range) and value.count:
            spacing = scale(name, setting.key)
            if spacing == "log" and float(value.low) <= 0:
                raise place.error(f"a logarithmic range begins above 0, got {value}", "example: 1e-4..1e-1:4")
            points = value.points(spacing)
        elif isinstance(value, Range) and not search:
            raise place.error(f"the range {value} needs a number of points", f"{value}:5; only tune takes a range")
        for point in points:
            yield replace(setting, values=(point,), values_at=(place,))


def _whole(text: str) -> Place:
    """All of the text, once its length and its characters are allowed."""
    if not text:
        raise UsageError(f"an empty spec; {_EXAMPLE}")
    if len(text) > LONGEST:
        raise Place(text, 0, 1).error(f"a spec has at most {LONGEST:,} characters, got {len(text):,}", _EXAMPLE)
    if found := _ILLEGAL.search(text):
        allowed = "allowed: letters, digits and _ . , : = + / @ -"
        raise Place(text, *found.span()).error(f"{found.group()!r} cannot be in a spec", allowed)
    return Place(text, 0, len(text))


def _term(at: Place, words: Collection[str] = ()) -> Term:
    if not at.typed or at.typed.endswith("+"):
        last = max(at.start, at.end - 1)
        raise at._replace(start=last).error("an empty term: '+' stands between two names", _EXAMPLE)
    name, rest = at.cut(":")
    found = _NAME.match(name.typed)
    good = name.start + (found.end() if found else 0)
    if not found or good < name.end:
        wrong = at.text[good : good + 1]
        hint = {"=": "settings follow a ':'", ",": "one arm: l1+l2; two arms: l1 l2"}.get(wrong, _EXAMPLE)
        wrong_at = name._replace(start=good, end=good + 1)
        raise wrong_at.error(f"{wrong!r} cannot be here: a name is a letter, then letters, digits, '_', '-'", hint)
    return Term(name.typed, _settings(rest, words) if rest else (), name)


def _settings(rest: Place | None, words: Collection[str] = ()) -> tuple[Setting, ...]:
    read: dict[str | None, tuple[Place, list[Value], list[Place]]] = {}
    key: str | None = None
    while rest:
        chunk, rest = rest.cut(",")
        first, value = chunk.cut("=")
        if value:
            key = first.typed
            if not _KEY.fullmatch(key):
                raise first.error("a key is a letter, then letters, digits, '_', '-'", "example: fgsm:eps=8/255")
            if key in read:
                raise first.error(f"the key {first.quoted} is here twice", "a grid is key=value,value")
        value = value or chunk
        if not value.typed:
            at = value._replace(start=value.start - 1)
            raise at.error(f"no value after {at.typed!r}", _EXAMPLE)
        _, values, places = read.setdefault(key, (first, [], []))
        values.append(value.typed if key in words else _value(value))
        places.append(value)
    return tuple(Setting(key, tuple(values), first, tuple(places)) for key, (first, values, places) in read.items())


def _value(at: Place) -> Value:
    if at.typed in ("true", "false"):
        return at.typed == "true"
    if not _NUMERIC.match(at.typed):
        if not _WORD.fullmatch(at.typed):
            raise at.error(f"{at.quoted} is not a value", "several settings: name:key=value,key=value")
        return at.typed
    lower, rest = at.cut("..")
    if not rest:
        return _scalar(at)
    upper, points = rest.cut(":")
    low, high = _scalar(lower), _scalar(upper)
    if float(low) >= float(high):
        raise at.error("a range begins with its lower end", "example: 1e-4..1e-1:4")
    if points and not (_COUNT.fullmatch(points.typed) and int(points.typed) >= 2):
        raise points.error("a range has from 2 to 9999 points", "example: 0..1:5")
    return Range(low, high, int(points.typed) if points else None)


def _scalar(at: Place) -> int | float | Ratio:
    top, bottom = at.cut("/")
    value = Ratio(_number(top), _number(bottom)) if bottom else _number(top)
    if (isinstance(value, Ratio) and value.denominator in (0, math.inf, -math.inf)) or not math.isfinite(float(value)):
        raise at.error(f"{at.quoted} is not a finite number", "examples: 1e+3, 8/255")
    return value


def _number(at: Place) -> int | float:
    if not _NUMBER.fullmatch(at.typed):
        raise at.error(f"{at.quoted} is not a number", "examples: 3, 0.5, 1e-3, 8/255, 0..1:5")
    return _tidy(float(at.typed))


def _tidy(number: int | float) -> int | float:
    """An int for a whole number that a float holds exactly, so that 1e+3, 1000.0 and 1000 are one value."""
    number = float(number)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _show(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(_tidy(value)).replace("e-0", "e-").replace("e+", "e")
    return str(value)
