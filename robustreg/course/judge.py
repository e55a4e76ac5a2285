"""From runs to what a reader sees: each part's readings, compared with the baseline where the splits are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..statistics import mean_interval
from ..study.differences import against_baseline, seeds_needed
from .readings import higher_is_better, in_words, is_naive, read
from .recipe import Form, Recipe
from .result import FormResult, Golden, PartResult, Reading, SeedResult

CHOSEN = "chosen"


def judged(recipe: Recipe, form: str, parts: Sequence[PartResult]) -> FormResult:
    """Return a form's result: readings of all parts, differences to its baseline, golden values, notes."""
    rules = recipe.forms[form]
    if rules.select:
        parts = [*parts, chosen(parts, rules.select, rules.baseline)]
    shown = [replace(part, readings=tuple(_readings(part, rules))) for part in parts]
    notes = [*_notes(shown)]
    base = next((part for part in shown if part.label == rules.baseline), None)
    if base is not None:
        shown, said = _compared(shown, base)
        notes += said
    return FormResult(form, rules.says, tuple(shown), rules.baseline, _golden(rules, shown), tuple(notes))


def chosen(parts: Sequence[PartResult], reading: str, baseline: str) -> PartResult:
    """Return a further part: on every seed, the run of the part whose `reading` is best; of equals the first.

    What is read of it otherwise was not used to choose it.
    """
    sign = -1 if higher_is_better(reading) is False else 1
    found: list[SeedResult] = []
    for seed in dict.fromkeys(run.seed for part in parts for run in part.runs):
        runs = [run for part in parts for run in part.runs if run.seed == seed]
        scores = [(value, run) for run in runs if (value := read(reading, run)) is not None]
        if scores:
            found.append(max(scores, key=lambda pair: sign * pair[0])[1])
    like = next((part for part in parts if part.label == baseline), parts[0])
    return replace(like, label=CHOSEN, spec=f"the best of {len(parts)} by {in_words(reading)}", runs=tuple(found))


def _readings(part: PartResult, rules: Form) -> list[Reading]:
    found = []
    for name in rules.shows:
        values = {run.seed: value for run in part.runs if run.status == "ok" and (value := read(name, run)) is not None}
        if values:
            interval = mean_interval(list(values.values()))
            found.append(Reading(name, interval.mean, interval.low, interval.high, interval.n, values))
    return found


def _compared(parts: list[PartResult], base: PartResult) -> tuple[list[PartResult], list[str]]:
    """The parts with the differences of their readings to those of `base`; none across different data."""
    others = [part for part in parts if part is not base and part.split == base.split]
    notes = [
        f"{part.label} saw other images than {base.label}: the two cannot be compared."
        for part in parts
        if part is not base and part.split != base.split
    ]
    found = {part.label: list(part.readings) for part in parts}
    for reading in base.readings:
        pairs = {part.label: pair for part in others if (pair := _pairs(part, reading)) is not None}
        higher = higher_is_better(reading.name)
        if higher is None or not pairs:
            continue
        enough = reading.n >= seeds_needed(len(pairs))
        against = against_baseline(
            reading.name, pairs, higher=higher, tested=enough, step=1 / max(1, base.test_images),
            blocked={part.label: _blocked(part, reading.name) for part in others if part.label in pairs},
        )  # fmt: skip
        for label, row in against.items():
            at = next(index for index, one in enumerate(found[label]) if one.name == reading.name)
            found[label][at] = replace(
                found[label][at], difference=row["difference"], difference_low=row["low"], difference_high=row["high"],
                p_adjusted=row["p_adjusted"], word="" if is_naive(reading.name) else row["word"],
            )  # fmt: skip
    return [replace(part, readings=tuple(found[part.label])) for part in parts], notes


def _pairs(part: PartResult, base: Reading) -> tuple[list[float], list[float]] | None:
    mine: Mapping[int, float] = next((one.values for one in part.readings if one.name == base.name), {})
    seeds = [seed for seed in base.values if seed in mine]
    return ([mine[seed] for seed in seeds], [base.values[seed] for seed in seeds]) if seeds else None


def _blocked(part: PartResult, reading: str) -> bool:
    return bool(part.flags) and reading.startswith(("robust", "fgsm"))


def _golden(rules: Form, parts: Sequence[PartResult]) -> tuple[Golden, ...]:
    by_label = {part.label: part for part in parts}
    found = []
    for golden in rules.golden:
        value = read(golden.reading, by_label[golden.part].first)
        what = Golden(golden.what, golden.value, float("nan"), golden.tolerance, golden.source)
        found.append(what if value is None else replace(what, found=value))
    return tuple(found)


def _notes(parts: Sequence[PartResult]) -> list[str]:
    said = []
    for part in parts:
        for status in ("diverged", "failed"):
            lost = [run for run in part.runs if run.status == status]
            if lost:
                said.append(f"{part.label}: {len(lost)} of {len(part.runs)} runs {status}: {lost[0].reason}")
        said += [f"{part.label}: {flag}" for flag in part.flags]
    return said
