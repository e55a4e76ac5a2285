"""From the text that names an engine, such as `local:workers=4`, to what starts it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import PluginError, RobustregError, printable, suggest
from ..plugins import Catalogue, Origin, discover_engine
from ..spec import Ratio, Setting, Term, parse_term
from .engine import Engine, EngineSource, OnNote, Work

AUTO = "auto"

_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def engine_of(text: str, catalogue: Catalogue | None = None) -> tuple[EngineSource, Callable[..., Engine]]:
    """Return the engine that a text such as `serial` or `local:workers=4` names, and how to start it: a function of
    the work and `on_note`.

    Args:
        text: a name, and options of the kinds of their defaults. A word is taken as it stands up to the next comma, so
            that an address fits: `ray:address=10.0.0.1:6379`.
        catalogue: what is installed; None to load as few plugins as it takes to find the name.

    Raises:
        UsageError: for an unknown engine or option, or a value that is not of its kind.
        PluginError: for what a plugin offers in the place of an engine and is none.
    """
    name = parse_term(text.partition(":")[0]).name
    found = discover_engine(name) if catalogue is None else catalogue
    offers = found.offers["engines"]
    if name not in offers:
        names, at = [AUTO, *offers], parse_term(name).at._replace(text=text)
        broken = "".join(f"\n{failure}" for failure in found.failures)
        raise at.error(f"engine must be one of {', '.join(names)}, got {name!r}.{suggest(name, names)}{broken}")
    source, origin = offers[name], found.origins["engines", name]
    if not isinstance(source, EngineSource):
        raise PluginError(f"plugin {origin}: engines() offers {source!r:.80}, which is no EngineSource")
    defaults = _defaults(source)
    term = parse_term(text, words=[key for key, default in defaults.items() if isinstance(default, str)])
    return source, partial(_started, source, origin, _options(term, defaults))


def check_engine(text: str, catalogue: Catalogue | None = None) -> None:
    """Raise a UsageError for a text that names no engine and is not `auto` either."""
    if text != AUTO:
        engine_of(text, catalogue)


def problem_of(source: EngineSource) -> str:
    """Return why an engine cannot be used here; empty where it can."""
    try:
        return source.problem()
    except Exception as error:  # a plugin must not end what only looks at it
        return f"it cannot say whether it can: {type(error).__name__}: {printable(str(error))}"


def _started(source: EngineSource, origin: Origin, options: dict[str, Any], work: Work, on_note: OnNote) -> Engine:
    try:
        return source.start(work, on_note, **options)
    except RobustregError:
        raise
    except Exception as error:
        raise PluginError(
            f"plugin {origin}: engine {source.name} cannot be started: {type(error).__name__}: {printable(str(error))}"
        ) from error


def _defaults(source: EngineSource) -> dict[str, Any]:
    parameters = inspect.signature(source.start).parameters.values()
    return {option.name: option.default for option in parameters if option.kind is option.KEYWORD_ONLY}


def _options(term: Term, defaults: dict[str, Any]) -> dict[str, Any]:
    """The settings of a term as options of an engine, each of the kind of its default."""
    found: dict[str, Any] = {}
    for setting in term.settings:
        key = (setting.key or next(iter(defaults), "value")).replace("-", "_")
        if key not in defaults:
            known = f"it has {', '.join(defaults)}" if defaults else "it has none"
            raise setting.at.error(f"engine {term.name} has no option {key!r}; {known}.{suggest(key, defaults)}")
        if key in found:
            raise setting.at.error(f"engine {term.name}: {key} is set twice")
        found[key] = _value(setting, type(defaults[key]))
    return found


def _value(setting: Setting, kind: type) -> Any:
    value = setting.values[0]
    value = float(value) if kind is float and isinstance(value, Ratio) else value
    fits = isinstance(value, int | float if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if len(setting.values) > 1 or not fits:
        raise setting.place().error(f"expected {_KINDS.get(kind, 'a word')}, got {value}")
    return value
