"""Initial weights that are the same whatever the seed of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def weights_from(seed: int) -> Iterator[None]:
    """Draw the weights of layers made inside from `torch.manual_seed(seed)`; with 0, from where torch's stream is.

    Torch's global random state is afterwards what it was before, unless the seed is 0.
    """
    if not seed:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
