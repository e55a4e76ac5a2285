"""What a study of a recipe found, in a file: a course that is started again finds it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..study import write_whole
from .result import PartResult, Points, SeedResult, Snapshot


def key_of(decides: Any) -> str:
    """Return a hash of everything that decides a study's results, as plain values."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:20]


def put(path: Path, key: str, parts: Sequence[PartResult]) -> None:
    """Write a study's parts.

    Raises:
        StoreError: when the folder cannot be written to.
        DiskFullError: when there is no room.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"key": key, "parts": [asdict(part) for part in parts]}).encode())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; choose another folder with --out") from error


def get(path: Path, key: str) -> list[PartResult] | None:
    """Return the parts that a file holds; None where there is none, or one of another study or a damaged one."""
    try:
        found = json.loads(path.read_text())
        return [_part(part) for part in found["parts"]] if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _part(values: Mapping[str, Any]) -> PartResult:
    runs = tuple(_run(run) for run in values["runs"])
    split = {int(seed): digest for seed, digest in values["split"].items()}
    points = Points(**{name: tuple(each) for name, each in values["points"].items()}) if values["points"] else None
    kept = {**values, "runs": runs, "split": split, "points": points, "flags": tuple(values["flags"])}
    return PartResult(**{**kept, "readings": ()})


def _run(values: Mapping[str, Any]) -> SeedResult:
    snapshots = tuple(Snapshot(one["epoch"], tuple(one["outputs"])) for one in values["snapshots"])
    return SeedResult(**{**values, "history": tuple(values["history"]), "snapshots": snapshots})
