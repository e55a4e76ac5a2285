"""How far a study is, told from outside: from its folder alone, writing nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .folder import read_study
from .lock import Holder
from .reading import Reading


@dataclass(frozen=True)
class Status:
    """Where a study stands.

    Attributes:
        name: of the study.
        runs: how many there are to be.
        ok: how many are finished and measured.
        diverged: how many ended in numbers that are none, which is a result.
        failed: how many ended in an error; they are tried again by `resume`.
        left: how many are not there.
        begun: how many of those left or failed have a checkpoint to go on from.
        holder: who coordinates it, or did and was cut off; None for nobody.
        running: whether that process is alive; None for one on another machine, which cannot be asked.
        seconds_left: at the pace of the runs that it finished; None where it is not running or none is finished.
    """

    name: str
    runs: int
    ok: int
    diverged: int
    failed: int
    left: int
    begun: int
    holder: Holder | None
    running: bool | None
    seconds_left: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        kept = {key: value for key, value in vars(self).items() if key != "holder"}
        return kept | {"coordinator": self.holder and self.holder.to_dict()}

    def __str__(self) -> str:
        counts = {"ok": self.ok, "diverged": self.diverged, "failed": self.failed, "left": self.left}
        said = ", ".join(f"{count} {word}" for word, count in counts.items() if count or word in ("ok", "left"))
        return f"{self.name}: {self.runs} runs: {said}" + (f", {self.begun} begun" if self.begun else "")


def status_of(folder: str | Path) -> Status:
    """Return how far the study in a folder is.

    Raises:
        UsageError: for a folder that holds no study.
        StoreError: for one that is damaged or from a newer version.
    """
    file = read_study(folder)
    planned = {identity for *_, identity in file.runs}
    with Reading(folder) as store:
        rows = [row for row in store.rows() if row.id in planned]
        holder = store.holder()
        begun = store.begun()
    count = {word: sum(row.status == word for row in rows) for word in ("ok", "diverged", "failed")}
    running = holder.runs if holder is not None else False
    left = None
    if holder is not None and running is not False:
        fresh = sum(row.finished >= holder.since for row in rows)
        settled = sum(row.status != "failed" or row.finished >= holder.since for row in rows)
        if fresh:
            left = max(0.0, time.time() - holder.since) / fresh * (len(planned) - settled)  # a clock may be set back
    # Two arms that are the same share a run, so that what is planned may be fewer than arms x seeds x conditions.
    name, total = file.study["name"], len(planned)
    ok, diverged, failed = (count[word] for word in ("ok", "diverged", "failed"))
    begun &= planned - {row.id for row in rows if row.status != "failed"}
    return Status(name, total, ok, diverged, failed, total - len(rows), len(begun), holder, running, left)
