"""The page docs/reference.md, written from the tables, the claims and what our studies found."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from .claims import Claim, claims
from .judge import ties
from .measured import Measured, read_measured
from .rows import EVIDENCE, Row, load, tables

OPENING = """# Published numbers, and which of them a CPU can check

`robustreg.reference` holds what papers and benchmarks printed, one CSV each with the same columns, and no number
without its source: `tables()` names them, `load(name)` returns the rows, `claims()` what follows from them. They are
not what this package measured, and no test compares our accuracies with them: data, networks and budgets differ. What
can be compared is the *direction*: which of two numbers is the higher. A test holds every table to be consistent in
itself (a stronger attack never leaves more, the last epoch is no better than the best, tables of one paper agree).

This page is written by `robustreg.reference.page`; a test compares it with the tables and studies.
"""

CHECKED = """## What a CPU can check in minutes

Each line is one claim of a paper and the study file in `examples/studies` that tests it, on thousands of small images
instead of tens of thousands of larger ones: `robustreg compare -f examples/studies/NAME.toml`. *Published* is the
difference in points where the paper prints both numbers. *Measured* are our means in per cent, the difference in points
with its 95 % t interval, paired over so many seeds. The word: *reproduced* if that interval lies on the published
side of 0 (for "same": within 3 points), *contradicted* if on the other side, otherwise *cannot tell*. Intervals
are not corrected for their number.

Strengths are as typed in the study file, untuned. `python examples/studies/measure.py` does it all again.
"""

GPU = """## What needs a GPU

`examples/studies/gpu-cifar10-pgd.toml` is the recipe of the CIFAR-10 tables below: pre-activation ResNet-18, PGD
training at 8/255, 30 or 200 epochs. A test plans it and trains a narrow network by it on made-up images; it was not run
in full, and we measured nothing of it. The claims it is meant for:
"""

NUMBERS = """## The tables

How far a number can be trusted:

{evidence}

Numbers that somebody only remembers are left out; their direction stays.

Accuracy in per cent unless another quantity is named; `clean` is without an attack, `fgsm 8/255` an attack with its eps
in pixel units (linf unless l2 is named).
"""


def page(studies: str | Path) -> str:
    """Return the page as Markdown.

    Args:
        studies: the folder with the study files and measured.csv.
    """
    folder = Path(studies)
    parts = [OPENING, CHECKED, _table(("claim", "published", "study", "measured", "word"), _checked(folder))]
    parts += [_tally(read_measured(folder)), *_unmeasured(folder), GPU, _listed(_waiting(folder, "gpu*.toml"))]
    words = "\n".join(f"- *{name}*: {says}" for name, says in EVIDENCE.items())
    return "\n".join([*parts, NUMBERS.format(evidence=words), *(_numbers(name) for name in tables())])


def _checked(folder: Path) -> Iterable[tuple[str, ...]]:
    known = claims()
    for line in read_measured(folder):
        claim = known[line.claim]
        study = f"[{line.study}](../examples/studies/{line.study}.toml)"
        settings = tomllib.loads((folder / f"{line.study}.toml").read_text(encoding="utf-8"))["study"]
        where = f"{study}: {settings['data']}, {settings['model']}, eps {settings['headline-eps']:g}"
        yield (_claim(claim), _published(claim), where, _measured(line), _word(line.word))


def _tally(lines: Iterable[Measured]) -> str:
    found = list(lines)
    words = [line.word for line in found]
    said = ", ".join(f"{words.count(word)} {word}" for word in ("reproduced", "contradicted", "cannot tell"))
    others = "".join(
        f"- {line.word}: {claims()[line.claim].says} ({line.study}, {_signed(line.difference)} points)\n"
        for line in sorted(found, key=lambda line: line.word, reverse=True)
        if line.word != "reproduced"
    )
    return (
        f"Of {len(words)} claims: {said}. Not reproduced:\n\n{others}"
        if others
        else f"Of {len(words)} claims: {said}.\n"
    )


def _unmeasured(folder: Path) -> list[str]:
    done = {(line.study, line.claim) for line in read_measured(folder)}
    found = [pair for pair in _waiting(folder, "*.toml") if pair not in done and not pair[0].startswith("gpu")]
    return ["Ready to run, and not run in full yet:\n", _listed(found)] if found else []


def _waiting(folder: Path, pattern: str) -> list[tuple[str, str]]:
    return [(path.stem, tie.claim) for path in sorted(folder.glob(pattern)) for tie in ties(path)]


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    known = claims()
    return "".join(f"- {_claim(known[claim])}: {_published(known[claim])}; {study}\n" for study, claim in pairs)


def _claim(claim: Claim) -> str:
    return f"{claim.says} ({_author(claim.row)})"


def _author(row: Row) -> str:
    author, year = row.source.split(",")[0], row.source.rsplit(", ", 1)[-1]
    return f"{author}, {year}" if year.isdigit() else row.source.split(":")[0]


def _published(claim: Claim) -> str:
    if claim.difference is None:
        return f"{claim.direction} ({claim.evidence}, no digits)"
    return f"{claim.direction}, {claim.difference:+.1f}"


def _measured(line: Measured) -> str:
    interval = f"[{_signed(line.low)}, {_signed(line.high)}], {line.seeds} seeds" if line.low else f"{line.seeds} seed"
    sides = f"{line.left}: {line.left_mean}; {line.right}: {line.right_mean}"
    return f"{sides}; {_signed(line.difference)} {interval}"


def _signed(number: str) -> str:
    return number if number.startswith("-") else f"+{number}"


def _word(word: str) -> str:
    return word if word == "reproduced" else f"**{word}**"


def _numbers(name: str) -> str:
    lines = []
    for (source, table), rows in groupby(load(name), key=lambda row: (row.source, row.table)):
        kept = [row for row in rows if row.value is not None]
        if kept:
            lines.append(
                f"\n{source}: {table}.\n\n{_table(('data', 'model', 'training', 'numbers', 'notes'), _lines(kept))}"
            )
    return f"### {name}\n" + "".join(lines)


def _lines(rows: list[Row]) -> Iterable[tuple[str, ...]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.data, row.model, row.training), []).append(row)
    for key, found in groups.items():
        evidence = sorted({row.evidence for row in found} - {"verified"})
        numbers = "; ".join(f"{_where(row)}: {_value(row)}" for row in found)
        yield (*key, numbers, "; ".join([*evidence, *_notes(found)]))


def _notes(rows: list[Row]) -> Iterable[str]:
    """Each note once, behind what it is about unless that is all."""
    for note in dict.fromkeys(row.note for row in rows if row.note):
        about = [_where(row) for row in rows if row.note == note]
        yield note if len(about) == len(rows) else f"{', '.join(about)}: {note}"


def _where(row: Row) -> str:
    attack = (
        "clean" if row.attack == "none" else " ".join(filter(None, (row.attack, row.norm.replace("linf", ""), row.eps)))
    )
    return attack if row.quantity == "accuracy" else f"{attack}, {row.quantity}"


def _value(row: Row) -> str:
    return f"{row.value:g}" if row.unit == "%" else f"{row.value:g} {row.unit}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
