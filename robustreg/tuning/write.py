"""Write a search: the numbers first, then the figure."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

from ..errors import RobustregError
from ..report import Written, to_json
from ..report.sheets import to_csv
from ..study import write_whole
from ..study.store import on_disk
from .result import SELECTIONS, Final, Tuning, rate_of
from .table import chosen, tables_text
from .trial import CRITERIA

REPORT = ("tuning.json", "trials.csv", "selections.csv", "curves.csv", "verdict.txt", "figures")


def write_tuning(tuning: Tuning, folder: str | os.PathLike[str], *, figures: bool = True) -> Written:
    """Write `tuning.json`, `trials.csv`, `selections.csv`, `curves.csv`, `verdict.txt` and the figure.

    Each file is there whole or not at all, and one that was there before is replaced. A figure that fails is a problem
    in what is returned, and loses nothing else.

    Raises:
        DiskFullError: when there is no room.
        StoreError: when the folder cannot be written to.
    """
    target, written = Path(folder), Written()
    files = {
        "tuning.json": f"{to_json(tuning.to_dict())}\n",
        "trials.csv": trials_csv(tuning),
        "selections.csv": selections_csv(tuning),
        "curves.csv": curves_csv(tuning),
        "verdict.txt": "\n\n".join([tables_text(tuning), *tuning.verdict()]) + "\n",
    }
    drawn: dict[str, bytes] = {}
    try:
        drawn = _drawn(tuning) if figures else {}
    except Exception as error:  # whatever a figure trips over, the numbers are more than it
        reason = str(error) if isinstance(error, RobustregError) else f"{type(error).__name__}: {error}"
        written.problems.append(f"The figure expected_maximum could not be drawn: {reason}.")
    with on_disk(target):
        target.mkdir(parents=True, exist_ok=True)
        for name, data in {
            **{name: text.encode(errors="backslashreplace") for name, text in files.items()},
            **drawn,
        }.items():
            (target / name).parent.mkdir(exist_ok=True)
            write_whole(target / name, data)
            written.paths.append(target / name)
    return written


def set_aside(folder: str | os.PathLike[str], tuning: Tuning) -> Path | None:
    """Move the report of another search out of the way and return where it went; None where this one covers it: with
    the same settings, all its arms, and as many draws or more. The runs of both stay in one store."""
    target = Path(folder)
    try:
        before = json.loads((target / REPORT[0]).read_text())
        arms, study = {arm["arm"] for arm in before["arms"]}, before["tuning"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    now = json.loads(to_json(tuning.study))
    same = all(study.get(key) == now[key] for key in ("data", "model", "recipe", "sampler", "guide", "learning_rates"))
    if same and arms <= set(tuning.arms) and study.get("budget", 0) <= now["budget"]:
        return None
    with on_disk(target):
        away = next(path for n in itertools.count(1) if not (path := target / f"earlier-{n}").exists())
        away.mkdir()
        for name in REPORT:
            if (target / name).exists():
                (target / name).rename(away / name)
    return away


def trials_csv(tuning: Tuning) -> str:
    """Return one row a trial: arm, draw, spec, network, every axis, status, accuracies and passes."""
    rows = tuning.rows()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return to_csv(columns, ([row.get(column) for column in columns] for row in rows))


def selections_csv(tuning: Tuning) -> str:
    """Return one row an arm and selection: what was selected, on validation and on test images."""
    spread = ("mean", "low", "high")
    columns = ["arm", "selected_by", "spec", "learning_rate", "model", "draw", "val_clean", "val_robust"]
    columns += [f"test_{what}{'' if key == 'mean' else f'_{key}'}" for what in CRITERIA for key in spread]
    finals = [final for arm in tuning.arms for by in SELECTIONS if (final := tuning.final(arm, by)) is not None]
    return to_csv([*columns, "bias", "test_used"], [_row(tuning, final, spread) for final in finals])


def curves_csv(tuning: Tuning) -> str:
    """Return one row an arm and number of draws: the expected best validation accuracies."""
    rows = [
        [arm, draws, *best]
        for arm, curve in tuning.curves.items()
        for draws, best in enumerate(zip(*(curve[by] for by in CRITERIA), strict=True), 1)
    ]
    return to_csv(["arm", "draws", *(f"expected_best_val_{by}" for by in CRITERIA)], rows)


def _row(tuning: Tuning, final: Final, spread: tuple[str, ...]) -> list[object]:
    trial = final.trial
    row: list[object] = [final.arm, final.by, chosen(final), rate_of(final, tuning.study), final.model]
    row += [None, None, None] if trial is None else [trial.draw, trial.clean, trial.robust]
    for what in CRITERIA:
        found = final.test(what)
        row += [None if found is None else getattr(found, key) for key in spread]
    return [*row, final.bias, final.used]


def _drawn(tuning: Tuning) -> dict[str, bytes]:
    from ..report import page

    figure = tuning.plot()
    page.settle(figure)
    return {
        f"figures/expected_maximum.{ending}": draw(figure) for ending, draw in (("svg", page.svg), ("png", page.png))
    }
