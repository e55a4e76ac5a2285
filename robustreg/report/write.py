"""Write a report: the numbers first, then the figures."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engines import LOCAL, SERIAL
from ..errors import DiskFullError, RobustregError, StoreError, shown
from .cards import cards_text
from .figures import FIGURES
from .plain_json import to_json
from .sheets import results_csv, summary_csv
from .table import table_text

if TYPE_CHECKING:
    from ..study import Comparison


@dataclass
class Written:
    """What a report consists of: the files that are there, and a sentence for each figure that is not."""

    paths: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


Drawn = tuple[dict[str, bytes], str]  # the files of a figure by their endings, and why there are none
REPORT = ("results.json", "results.csv", "summary.csv", "verdict.txt", "figures")


def set_aside(folder: str | os.PathLike[str], comparison: Comparison) -> Path | None:
    """Move a report out of the way that says something the one of `comparison` will not; return where it went.

    That is one with other arms or seeds, or of another study. A report that the new one covers is left to be replaced.
    """
    target = Path(folder)
    try:
        before = json.loads((target / "results.json").read_text())
        told = {(arm["arm"], seed) for arm in before["arms"] for seed in before["study"]["seeds"]}
        same = all(before["study"].get(key) == comparison.study.get(key) for key in ("data", "model", "recipe", "eps"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if same and told <= {(arm, seed) for arm in comparison.arms for seed in comparison.study["seeds"]}:
        return None
    number = next(n for n in itertools.count(1) if not (target / f"earlier-{n}").exists())
    away = target / f"earlier-{number}"
    away.mkdir()
    for name in REPORT:
        if (target / name).exists():
            (target / name).rename(away / name)
    return away


def write_report(comparison: Comparison, folder: str | os.PathLike[str], *, figures: bool = True) -> Written:
    """Write `results.json`, `results.csv`, `summary.csv`, `verdict.txt` and `figures/NAME.svg` and `.png`.

    A figure that would have nothing to show, such as memorization without random labels, is left out.

    `verdict.txt` holds the table, the sentences and the cards. Each file is there whole or not at all, and one that was
    there before is replaced. A figure that fails is a problem in what is returned, and loses nothing else.

    Args:
        comparison: a study, finished or not.
        folder: made if it is not there.
        figures: whether to draw.

    Raises:
        DiskFullError: when there is no room.
        StoreError: when the folder cannot be written to.
    """
    written = Written()
    target = Path(folder)
    _put(written, target / "results.json", f"{to_json(comparison)}\n")
    _put(written, target / "results.csv", results_csv(comparison))
    _put(written, target / "summary.csv", summary_csv(comparison))
    verdict = shown("\n".join(comparison.verdict()))
    _put(written, target / "verdict.txt", f"{table_text(comparison)}\n\n{verdict}\n\n{cards_text(comparison, 100)}\n")
    for name, (drawn, problem) in _draw(comparison, list(FIGURES) if figures else []).items():
        if problem:
            written.problems.append(f"The figure {name} could not be drawn: {problem}.")
            continue
        for ending in ("svg", "png"):
            path = target / "figures" / f"{name}.{ending}"
            if drawn:
                _put(written, path, drawn[ending])
            else:
                path.unlink(missing_ok=True)  # of an earlier report, which had something to show
    return written


def _draw(comparison: Comparison, names: list[str]) -> dict[str, Drawn]:
    """Each figure's files and problem, one of them empty; drawn on all cores, since that takes seconds."""

    def work(note: Callable[[Any], None], name: str) -> Iterator[tuple[str, Drawn]]:
        try:
            yield name, (_drawn(comparison, name), "")
        except Exception as error:  # whatever a figure trips over, the numbers are more than it
            reason = str(error) if isinstance(error, RobustregError) else f"{type(error).__name__}: {error}"
            yield name, ({}, reason)

    from . import page  # noqa: F401  # once, and not in every process

    found: dict[str, Drawn] = {}
    engine = (SERIAL if LOCAL.problem() else LOCAL).start(work, lambda task, note: None)
    try:
        left = {engine.submit(name): name for name in names}
        while left:
            event = engine.wait()
            if event.over:
                name = left.pop(event.task)
                found.setdefault(name, ({}, str(event.error)))
            else:
                found |= [event.result]
    finally:
        engine.close()
    return {name: found[name] for name in names}


def _drawn(comparison: Comparison, name: str) -> dict[str, bytes]:
    """The files of a figure by their endings; none of one that would only say that there is nothing to show."""
    from . import page

    figure = FIGURES[name](comparison)
    if getattr(figure, "blank", False):
        return {}
    page.settle(figure)
    return {"svg": page.svg(figure), "png": page.png(figure)}


def _put(written: Written, path: Path, content: str | bytes) -> None:
    from ..study import write_whole

    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFullError(f"no room to write {path}: {error.strerror}") from error
        raise StoreError(f"cannot write {path}: {error.strerror}; choose another folder") from error
    written.paths.append(path)
