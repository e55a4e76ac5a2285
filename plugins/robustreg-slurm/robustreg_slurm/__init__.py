"""A plugin for robustreg: an engine that does the tasks of a study as jobs of a Slurm cluster, by submitit."""

from robustreg import hookimpl
from robustreg.engines import EngineSource

from .source import SLURM

__all__ = ["SLURM", "engines"]


@hookimpl
def engines() -> list[EngineSource]:
    """Offer the engine to robustreg."""
    return [SLURM]
