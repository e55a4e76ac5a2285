"""Samplers: which points of a search space are tried, one way a file."""

from ...errors import UsageError, suggest
from .bayesian import BAYESIAN
from .coordinate import COORDINATE
from .grid import GRID
from .random import RANDOM
from .sampler import Sampler, SamplerSource

SAMPLERS = {source.name: source for source in (RANDOM, GRID, COORDINATE, BAYESIAN)}


def sampler_of(name: str) -> SamplerSource:
    """Return the sampler of this name, or raise a UsageError."""
    if name not in SAMPLERS:
        raise UsageError(f"sampler must be one of {', '.join(SAMPLERS)}, got {name!r}.{suggest(name, SAMPLERS)}")
    return SAMPLERS[name]


__all__ = ["SAMPLERS", "Sampler", "SamplerSource", "sampler_of"]
