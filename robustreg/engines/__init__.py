"""Engines: where the tasks of a study are done. Free of torch until one starts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial

from ..errors import suggest
from ..spec import Term, parse_term
from .engine import Engine, EngineSource, Event, OnNote, TimeUpError, Work, WorkerLostError
from .local import LOCAL, cores
from .serial import SERIAL

AUTO = "auto"
BUILT_IN = (SERIAL, LOCAL)


def engine_of(text: str, sources: Iterable[EngineSource] = BUILT_IN) -> tuple[EngineSource, Callable[..., Engine]]:
    """Return the engine that a text such as `serial` or `local:workers=4` names, and how to start it: a function of
    the work and `on_note`.

    Raises:
        UsageError: for an unknown engine or option, or a value that is not of its kind.
    """
    known = {source.name: source for source in sources}
    term = parse_term(text)
    if term.name not in known:
        names = [AUTO, *known]
        raise term.at.error(f"engine must be one of {', '.join(names)}, got {term.name!r}.{suggest(term.name, names)}")
    source = known[term.name]
    return source, partial(source.start, **_options(term, source))


def check_engine(text: str) -> None:
    """Raise a UsageError for a text that names no engine and is not `auto` either."""
    if text != AUTO:
        engine_of(text)


def _options(term: Term, source: EngineSource) -> dict[str, float | int]:
    """The settings of a term as options of an engine, numbers all of them."""
    parameters = inspect.signature(source.start).parameters.values()
    defaults = {option.name: option.default for option in parameters if option.kind is option.KEYWORD_ONLY}
    found: dict[str, float | int] = {}
    for setting in term.settings:
        key = (setting.key or next(iter(defaults), "value")).replace("-", "_")
        if key not in defaults:
            known = f"it has {', '.join(defaults)}" if defaults else "it has none"
            raise setting.at.error(f"engine {term.name} has no option {key!r}; {known}.{suggest(key, defaults)}")
        value, whole = setting.values[0], isinstance(defaults[key], int)
        if (
            len(setting.values) > 1
            or isinstance(value, (bool, str))
            or not isinstance(value, int if whole else float | int)
        ):
            raise setting.place().error(f"expected {'a whole number' if whole else 'a number'}, got {value}")
        found[key] = value
    return found


__all__ = [
    "AUTO",
    "BUILT_IN",
    "LOCAL",
    "SERIAL",
    "Engine",
    "EngineSource",
    "Event",
    "OnNote",
    "TimeUpError",
    "Work",
    "WorkerLostError",
    "check_engine",
    "cores",
    "engine_of",
]
