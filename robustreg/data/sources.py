"""The built-in data sources, and loading a data set by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import UsageError
from ..hookspecs import hookimpl
from . import afhq, digits, folder, mnist5k, mnist358, torchvision_sets
from .dataset import Dataset, DataSource
from .options import PARTS, load_with, parse, says, size_of
from .split import Splits
from .splitting import make_splits


@hookimpl
def datasets() -> list[DataSource]:
    """Offer the built-in data sets."""
    return [digits.source, mnist5k.source, mnist358.source, folder.source, *torchvision_sets.sources, afhq.source]


def load_data(
    data: str | DataSource | Dataset,
    *,
    seed: int = 0,
    sources: Iterable[DataSource] | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Splits:
    """Return the splits of a data set.

    Args:
        data: what to load: `digits`, `folder:PATH,size=32` or another name with its options (see `options.parse`); a
            source; or a data set already in memory.
        seed: what the splits are drawn with.
        sources: where to look for a name; the built-in sources by default.
        say: is called with messages the user should see, such as a licence before a download.
        **options: `train`, `val` and `test`, the sizes of the parts, and the options of the source. They go before
            those in the text.

    Raises:
        UsageError: for an unknown name or option.
        DataError: for data that is missing, damaged, or too small for the sizes asked for.
    """
    dataset, sizes = load_dataset(data, sources=sources, say=say, **options)
    return make_splits(dataset, seed=seed, **sizes)


def load_dataset(
    data: str | DataSource | Dataset,
    *,
    sources: Iterable[DataSource] | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> tuple[Dataset, dict[str, int | None]]:
    """Return a data set, and the sizes of the parts that were asked for, to be split with many seeds.

    `make_splits(dataset, seed=seed, **sizes)` is what `load_data` returns; arguments and errors are the same.
    """
    if isinstance(data, str):
        known = {source.name: source for source in (datasets() if sources is None else sources)}
        name, typed = parse(data, known)
        options = {**typed, **options}
        data = known[name]
    sizes = {part: size_of(part, options.pop(part)) for part in PARTS if part in options}
    if isinstance(data, DataSource):
        return load_with(data, options, say), sizes
    if options:
        raise UsageError(f"data {data.name!r} is already loaded and has no option {min(options)!r}")
    return data, sizes


def fetch_data(
    name: str, *, sources: Iterable[DataSource] | None = None, say: Callable[[str], None] | None = None
) -> DataSource:
    """Download a data set if it is not there, and return its source.

    Args:
        name: `mnist`, or with an option of the download, `afhq:sha256=...`.
        sources: where to look for the name; the built-in sources by default.
        say: is called with messages the user should see, such as a licence before the download.

    Raises:
        UsageError: for an unknown name, or an option that the download does not take.
        DataError: when it cannot be downloaded.
    """
    known = {source.name: source for source in (datasets() if sources is None else sources)}
    word, options = parse(name, known)
    source = known[word]
    if source.get is None:
        return source
    taken = inspect.signature(source.get).parameters
    for key in options:
        if key not in taken:
            raise UsageError(f"{key} plays no part in downloading {word}; leave it out")
    source.get(**options, **says(source.get, say))
    return source
