"""What a model file says of itself, held to its types before anybody relies on it: whoever made the file wrote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import DataError

MOST_PIXELS = 1 << 26  # values of one image
MOST_CLASSES = 1 << 20
MOST_AROUND = 100  # regularizers


def checked_manifest(manifest: object, path: str | Path) -> dict[str, Any]:
    """Return the manifest if each entry that is used is of the kind it has to be; others are left as they are.

    Raises:
        DataError: that names the entry and what was expected.
    """
    if not isinstance(manifest, dict):
        raise DataError(f"{path} has a manifest that is no table; it was not written by robustreg")
    for key, (fits, expected) in _KINDS.items():
        if key in manifest and not fits(manifest[key]):
            raise DataError(f"{path} has a damaged manifest: {key} must be {expected}, got {manifest[key]!r:.60}")
    return manifest


def _count(most: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _shape(value: object) -> bool:
    if not isinstance(value, list) or not 0 < len(value) <= 8 or not all(_count(MOST_PIXELS)(each) for each in value):
        return False
    size = 1
    for each in value:
        size *= each
    return 0 < size <= MOST_PIXELS


def _names(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MOST_CLASSES and all(isinstance(each, str) for each in value)


def _around(value: object) -> bool:
    """Whether it is a list of regularizers: a name and knobs with plain values."""
    return (
        isinstance(value, list)
        and len(value) <= MOST_AROUND
        and all(
            isinstance(each, Mapping)
            and isinstance(each.get("name"), str)
            and all(isinstance(knob, str | int | float | bool) for knob in each.values())
            for each in value
        )
    )


_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "model": (lambda value: isinstance(value, str), "the name of a model"),
    "data": (lambda value: isinstance(value, str), "the name of a data set"),
    "shape": (_shape, "the shape of an image"),
    "classes": (_count(MOST_CLASSES), "a number of classes"),
    "class_names": (_names, "a list of names"),
    "seed": (_count((1 << 63) - 1), "a whole number from 0"),
    "at_inference": (_around, "a list of regularizers"),
}
