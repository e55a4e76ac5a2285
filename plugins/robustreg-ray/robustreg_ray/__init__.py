"""A plugin for robustreg: an engine that does the tasks of a study on Ray, on this machine or on a cluster."""

from robustreg import hookimpl
from robustreg.engines import EngineSource

from .engine import RAY, Ray

__all__ = ["RAY", "Ray", "engines"]


@hookimpl
def engines() -> list[EngineSource]:
    """Offer the engine to robustreg."""
    return [RAY]
