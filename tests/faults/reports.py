"""Reports of studies that nobody meant to do: of no arm, of 200, of lost runs only, of names that would be code."""

from __future__ import annotations

import csv
import io
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robustreg.plugins import discover
from robustreg.report import cards_text, table_text, write_report
from robustreg.study import Comparison, Record, make_plan
from robustreg.study.plan import Plan

from .outcome import Outcome

HOSTILE = [
    "<script>alert(1)</script>", "=HYPERLINK(\"http://x\")", "+1", "@SUM(A1)", "a\x1b[31mb\x07", "two\nlines\r\tmore",
    "\u202egnp.exe", "$\\frac{1}{0}$", "é漢字🙂", "%s {x} {0}", "\ud800", "x" * 500, "&lt;", "]]>", "--", "'\"`;",
]  # fmt: skip
SECONDS = 60.0  # of a processor, for the report of 200 arms


def reports(folder: Path, cases: Sequence[str] = ()) -> Outcome:
    """Write the report of each such study, with its figures, and read it with the readers of its formats."""
    found = Outcome(16, "reports of 0, 1 and 200 arms, hostile names, lost runs only")
    for name in cases or CASES:
        began = sum(os.times()[:4])  # of processors, with those of the processes that draw
        comparison = CASES[name]()
        found.count += 1
        try:
            _look(comparison, folder / name, name, found)
        except Exception as error:  # whatever it is, it is this case's
            found.check(False, f"{name}: {type(error).__name__}: {error}")
        taken = sum(os.times()[:4]) - began
        found.check(taken < SECONDS, f"{name}: it took {taken:.0f} s")
        found.most("most seconds", taken)
    return found


def _look(comparison: Comparison, folder: Path, name: str, found: Outcome) -> None:
    written = write_report(comparison, folder)
    found.check(not written.problems, f"{name}: {written.problems}")
    document = json.loads((folder / "results.json").read_text())
    found.check(len(document["arms"]) == len(comparison.arms), f"{name}: {len(document['arms'])} arms in the JSON")
    rows = list(csv.reader(io.StringIO((folder / "results.csv").read_text())))
    found.check(len(rows) == 1 + len(comparison.records), f"{name}: {len(rows)} rows in the CSV")
    formulas = [cell for row in rows for cell in row if cell[:1] in "=+@\t\r" and cell and not _is_number(cell)]
    found.check(not formulas, f"{name}: a spreadsheet would run {formulas[:3]}")
    for path in written.paths:
        if path.suffix == ".svg":
            root = ET.parse(path).getroot()
            tags = {element.tag.rpartition("}")[2].lower() for element in root.iter()}
            events = {key for element in root.iter() for key in element.attrib if key.lower().startswith("on")}
            found.check(not tags & {"script", "foreignobject", "a"} and not events,
                        f"{name}: {path.name} holds {tags} {events}")  # fmt: skip
    found.check(
        {path.suffix for path in folder.rglob("*.*")} >= {".json", ".csv", ".txt"}, f"{name}: files are missing"
    )
    verdict = (folder / "verdict.txt").read_text(errors="replace")
    texts = [table_text(comparison, width) for width in (40, 80, 300)]
    for text in (verdict, cards_text(comparison, 80), *texts):
        bad = {sign for sign in text if not sign.isprintable() and sign != "\n"}
        found.check(not bad, f"{name}: a terminal would obey {bad}")


def _is_number(text: str) -> bool:
    try:
        return float(text) is not None
    except ValueError:
        return False


def _plan(arms: int, seeds: int = 2) -> Plan:
    specs = [f"l2:{(1 + arm) * 1e-5:.6g}" for arm in range(arms)] or ["none"]
    return make_plan(
        specs, catalogue=discover(), seeds=seeds, data="digits:train=40,val=20,test=20", model="mlp:hidden=8",
        epochs=1, label_noise=[1.0], eps=[0.05, 0.1], headline_eps=0.1,
    )  # fmt: skip


def _study(arms: int, change: Callable[[int, Record], None] = lambda at, record: None) -> Comparison:
    """A study of so many arms beside the baseline whose numbers are made up, each run changed as it should be."""
    plan, records = _plan(arms), []
    for at, run in enumerate(plan.runs()):
        record = Record(f"run-{at}", run.arm.name, run.seed, str(run.condition), regularizers=run.arm.settings())
        share = at * 7919 % 997 / 997
        record.history = [{"epoch": 0, "train_loss": 1 + share, "train_accuracy": share, "val_accuracy": share}]
        if run.condition.rate:
            record.measures = {"random_label_accuracy": share, "memorized_fraction": share}
        else:
            curve = {f"{eps:g}": max(0.0, share - eps) for eps in plan.eps}
            record.measures = {"clean_accuracy": share, "fgsm_accuracy": share / 2, "robust_accuracy": share / 3,
                               "generalization_gap": 1 - share, "robust_curve": dict(curve), "fgsm_curve": dict(curve),
                               "train_accuracy": share, "training_seconds": 1.0, "gradient_passes": 100.0}  # fmt: skip
        change(at, record)
        records.append(record)
    return Comparison(plan.describe(), [arm.name for arm in plan.arms], plan.measures(), records)


def _lost(status: str) -> Callable[[int, Record], None]:
    def lose(at: int, record: Record) -> None:
        record.status, record.measures, record.history = status, {}, []
        record.reason = HOSTILE[at % len(HOSTILE)]

    return lose


def _only_one_left(at: int, record: Record) -> None:
    if at:
        _lost("failed")(at, record)


def _hostile() -> Comparison:
    plain = _study(len(HOSTILE))
    names = dict(zip(plain.arms, ["none", *HOSTILE], strict=True))
    for record in plain.records:
        record.arm = names[record.arm]
        record.trust = [{"flag": record.arm, "level": "red", "value": 1.0, "says": record.arm}]
    study: dict[str, Any] = {**plain.study, "data": HOSTILE[0], "model": HOSTILE[4], "notes": HOSTILE}
    study["classes"] = HOSTILE[: len(study["classes"])]
    return Comparison(study, ["none", *HOSTILE], plain.measures, plain.records)


CASES: dict[str, Callable[[], Comparison]] = {
    "no arm": lambda: _study(0),
    "one arm": lambda: _study(1),
    "200 arms": lambda: _study(200),
    "all failed": lambda: _study(3, _lost("failed")),
    "all diverged": lambda: _study(3, _lost("diverged")),
    "one run left": lambda: _study(3, _only_one_left),
    "nothing done": lambda: Comparison(_study(2).study, _study(2).arms, _study(2).measures, []),
    "hostile": _hostile,
}
