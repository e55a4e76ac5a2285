"""One thing that is searched: a range of numbers, or a list of values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import UsageError
from ..place import NOWHERE, Place
from ..spec import Range, Setting

Value = float | int | bool | str

DIGITS = 3  # of a number drawn from a range, so that what was found can be read and typed
SPREAD = 8  # from this factor on, whole numbers are searched by their logarithm where nobody said how


@dataclass(frozen=True)
class Axis:
    """A range from `low` to `high`, or the `values` to choose from.

    Attributes:
        name: what is set: a regularizer (its strength), `regularizer.knob`, `learning_rate` or `model.option`.
        low: the lower end.
        high: the upper end.
        log: whether equal steps are equal factors.
        whole: whether only whole numbers count.
        values: a list to choose from, in place of a range.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    values: tuple[Value, ...] = ()

    @property
    def count(self) -> int | None:
        """How many values there are; None for as many as one likes."""
        return len(self.values) or (int(self.high) - int(self.low) + 1 if self.whole else None)

    def at(self, u: float) -> Value:
        """Return the value at `u` in [0, 1]: uniform numbers `u` give values uniform on the axis, or its logarithm.

        Numbers of a range are rounded to 3 digits and never leave it.
        """
        if self.values:
            return self.values[min(int(u * len(self.values)), len(self.values) - 1)]
        low, high = (self.low, self.high + 1.0) if self.whole else (self.low, self.high)
        if self.log:
            low, high = math.log(low), math.log(high)
        found = low + u * (high - low)
        found = math.exp(found) if self.log else found
        if self.whole:
            return min(int(self.high), max(int(self.low), math.floor(found + 1e-9)))
        return min(self.high, max(self.low, float(f"{found:.{DIGITS}g}")))

    def levels(self, number: int) -> list[float]:
        """Return up to `number` positions that cover the axis evenly, both ends among them; of one, the middle.

        No two of them stand for the same value.
        """
        count = self.count
        number = number if count is None else min(number, count)
        if number == 1:
            return [0.5]
        found = [i / (number - 1) for i in range(number)]
        return list({self.at(u): u for u in found}.values())

    def describe(self) -> dict[str, object]:
        """Return the axis as plain values."""
        if self.values:
            return {"axis": self.name, "values": list(self.values)}
        return {"axis": self.name, "low": self.low, "high": self.high, "scale": "log" if self.log else "linear"}

    def __str__(self) -> str:
        if self.values:
            return f"{self.name} {', '.join(map(str, self.values))}"
        return f"{self.name} {self.low:g}..{self.high:g}{' (log)' if self.log else ''}"


def searched(setting: Setting) -> bool:
    """Return whether a setting leaves something to search: a range, or several values."""
    return len(setting.values) > 1 or isinstance(setting.values[0], Range)


def axis_of(name: str, setting: Setting, *, log: bool | None, whole: bool) -> Axis:
    """Return what a setting leaves to search.

    Args:
        name: of the axis.
        setting: with a range, or with several values.
        log: how a range is searched; None: whole numbers by their logarithm where the range is wide.
        whole: whether the setting takes whole numbers only.

    Raises:
        UsageError: for a range beside other values, a logarithmic range that begins at 0, or a whole-number setting
            with other ends; the column is marked.
    """
    found: list[Value] = []
    for index, value in enumerate(setting.values):
        place = setting.place(index)
        if not isinstance(value, Range):
            found.append(value if isinstance(value, (bool, str, int)) else float(value))
            continue
        low, high = float(value.low), float(value.high)
        if whole and not (low.is_integer() and high.is_integer()):
            raise place.error(f"expected whole numbers, got {value}", "example: 1..4")
        by_logarithm = (whole and low > 0 and high / low >= SPREAD) if log is None else log
        if by_logarithm and low <= 0:
            raise _begins_at_zero(place, value)
        if value.count:
            points = value.points("log" if by_logarithm else "linear")
            found += dict.fromkeys(round(float(point)) if whole else float(point) for point in points)
        elif len(setting.values) > 1:
            raise place.error(f"the range {value} stands beside other values", "a range alone, or a list of values")
        else:
            return Axis(name, low, high, log=by_logarithm, whole=whole)
    return Axis(name, values=tuple(dict.fromkeys(found)))


def _begins_at_zero(place: Place, value: Range) -> UsageError:
    hint = f"begin just above: {float(value.high) / 1e5:g}..{float(value.high):g}; off altogether is the arm none"
    if place == NOWHERE:
        return UsageError(f"{value} is searched by its logarithm and must begin above 0; {hint}")
    return place.error(f"{value} is searched by its logarithm, so it must begin above 0", hint)
