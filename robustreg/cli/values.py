"""Values of options that are lists, as a user types them or a TOML file holds them."""

from __future__ import annotations

from typing import Any

import click

from ..errors import UsageError
from ..spec import Ratio, parse_term


class Numbers(click.ParamType):
    """A list such as `0,1/16,0.5`, as floats: shares and sizes, of which none is below 0."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers, or fail with the place marked."""
        if not isinstance(value, str):
            given = value if isinstance(value, tuple | list) else (value,)
            if not given or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in given):
                self.fail(f"{value!r} is not a list of numbers such as 0,1/16,0.5", param, ctx)
            try:
                return self._from_zero(tuple(float(v) for v in given), param, ctx)
            except OverflowError:
                self.fail(f"{value!r:.60} holds a number that is too large", param, ctx)
        try:
            settings = parse_term(f"x:{value}").settings
        except UsageError:
            settings = ()
        numbers = settings[0].values if len(settings) == 1 and settings[0].key is None else ()
        if not numbers or not all(isinstance(v, (int, float, Ratio)) and not isinstance(v, bool) for v in numbers):
            self.fail(f"{value!r} is not a list of numbers such as 0,1/16,0.5", param, ctx)
        return self._from_zero(tuple(float(v) for v in numbers), param, ctx)  # type: ignore[arg-type]

    def _from_zero(
        self, numbers: tuple[float, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        below = [number for number in numbers if number < 0]
        if below:
            self.fail(f"{below[0]:g} is below 0", param, ctx)
        return numbers


NUMBERS = Numbers()


class Words(click.ParamType):
    """A list of names such as `clean_accuracy,robust_accuracy`."""

    name = "words"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names there are between the commas."""
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            self.fail(f"{value!r:.60} is not a list of names", param, ctx)
        return tuple(str(word).strip() for word in words)


WORDS = Words()
