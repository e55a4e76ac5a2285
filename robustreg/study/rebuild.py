"""A comparison from what the store of a study holds: nothing is trained, and neither data nor plugins are needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import StoreError
from .comparison import Comparison
from .folder import NAME, StudyFile, read_study
from .reading import DamagedRowError, Reading
from .record import Record


def rebuild(folder: str | Path) -> Comparison:
    """Return the comparison of a study from its folder, finished or not, also while it is being worked on.

    Of an unfinished study `Comparison.study` says so under "unfinished": how many `runs` there are to be, how many are
    `missing`, and how many of those have a row that is `damaged`; the verdict begins with it.

    Raises:
        UsageError: for a folder that holds no study.
        StoreError: for one that is damaged or from a newer version.
    """
    file = read_study(folder)
    with Reading(folder) as store:
        return _comparison(folder, file, list(store.records()))


def _comparison(folder: str | Path, file: StudyFile, found: list[Record | DamagedRowError]) -> Comparison:
    kept = {record.id: record for record in found if isinstance(record, Record)}
    planned = [run for run in file.runs if run[-1] in kept]
    for arm, seed, condition, identity in planned:
        record = kept[identity]
        if (record.seed, record.label_condition) != (
            seed,
            condition,
        ) or not record.measures.keys() <= file.measures.keys():
            raise StoreError(f"{folder}: the run {identity} in the store is not the one of {NAME}: {arm}, seed {seed}")
    records = [replace(kept[identity], arm=arm) for arm, _, _, identity in planned]
    study = dict(file.study)
    missing = len(file.runs) - len(records)
    if missing:
        damaged = sum(isinstance(record, DamagedRowError) for record in found)
        study["unfinished"] = {"runs": len(file.runs), "missing": missing, "damaged": damaged}
    return Comparison(study, file.arms, file.measures, records)
