"""Intervals that count both sources of chance: which seeds were drawn, and which test images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .intervals import Interval
from .values import check_confidence, finite

PerSample = NDArray[np.floating] | NDArray[np.bool_] | Sequence[Sequence[float]] | Sequence[float]


def two_level_bootstrap(
    per_sample: PerSample, confidence: float = 0.95, *, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the mean over seeds and test images with the percentile interval of resampling both.

    Args:
        per_sample: one number a test image, such as 1 where the model is right. An array (seeds, images): all seeds saw
            one test set, and its images are drawn once for all. A list of vectors, of any lengths: every seed has a
            test set of its own, whose images are drawn apart; every seed weighs the same. A vector: one model, whose
            interval is about test images alone.
        confidence: of the interval.
        resamples: how many.
        seed: of the draws.

    Returns:
        the mean; `sd` of the means of the seeds, None for one; `n` seeds.

    Raises:
        UsageError: for no number, one that is not finite, or a confidence outside (0, 1).

    Davison and Hinkley, Bootstrap methods and their application, 1997, section 3.8. With a test set a seed, images add
    to the spread of seeds that holds them already: the interval is then a little too wide, not too narrow.
    """
    check_confidence(confidence)
    rng = np.random.default_rng(seed)
    shared = isinstance(per_sample, np.ndarray) and per_sample.ndim == 2
    rows = list(per_sample) if shared or _nested(per_sample) else [per_sample]
    sets = [finite(np.asarray(row), "a value of a test image") for row in rows]
    means = np.array([row.mean() for row in sets])
    draw = _crossed(np.stack(sets), resamples, rng) if shared else _apart(sets, resamples, rng)
    low, high = np.quantile(np.concatenate(list(draw)), [(1 - confidence) / 2, (1 + confidence) / 2])
    sd = float(means.std(ddof=1)) if len(sets) > 1 else None
    return Interval(float(means.mean()), sd, float(low), float(high), len(sets))


def _nested(values: PerSample) -> bool:
    return len(values) > 0 and np.ndim(values[0]) == 1


def _crossed(table: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Means of resampled rows and columns, in pieces."""
    seeds, images = table.shape
    for number in _pieces(resamples, images):
        rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=number)
        columns = rng.multinomial(images, np.full(images, 1 / images), size=number)
        yield ((rows @ table) * columns).sum(1) / table.size


def _apart(
    sets: Sequence[NDArray[np.float64]], resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Means of resampled seeds, each with images of its own, in pieces."""
    for number in _pieces(resamples, len(sets) + max(row.size for row in sets)):
        drawn = rng.integers(len(sets), size=(number, len(sets)))
        means = np.empty(drawn.shape)
        for index, row in enumerate(sets):
            here = drawn == index
            kinds, counts = np.unique(row, return_counts=True)  # right or wrong: two kinds, however many images
            picked = rng.multinomial(row.size, counts / row.size, size=int(here.sum()))
            means[here] = picked @ kinds / row.size
        yield means.mean(1)


def _pieces(resamples: int, width: int) -> Iterator[int]:
    from . import _CHUNK

    most = max(1, _CHUNK // width)
    for start in range(0, resamples, most):
        yield min(most, resamples - start)
