"""Engines: where the tasks of a study are done. Free of torch until one starts."""

from ..hookspecs import hookimpl
from .engine import Engine, EngineSource, Event, OnNote, TimeUpError, Work, WorkerLostError
from .local import LOCAL, cores
from .named import AUTO, check_engine, engine_of, problem_of
from .serial import SERIAL

__all__ = [
    "AUTO",
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
    "engines",
    "problem_of",
]


@hookimpl
def engines() -> list[EngineSource]:
    """Offer the built-in engines."""
    return [SERIAL, LOCAL]
