"""The tables of a course: one row a recipe, and one row a part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..report.capture import captured
from .readings import in_words, is_count, is_share
from .recipe import Recipe
from .result import CORRECTED, FAITHFUL, FormResult, PartResult, Reading, RecipeResult

WORD_STYLES = {"better": "green", "worse": "red", "equivalent": "cyan", "cannot tell": "dim"}
NAME = 20  # columns that hold the longest name of a recipe on one line

Pair = tuple[Recipe, RecipeResult]


def overview(pairs: Iterable[Pair]) -> Table:
    """Return the table a course ends with: recipe, what the tutorial printed, faithful, corrected, flaws."""
    made = Table(box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False, padding=(0, 1))
    made.add_column("recipe", overflow="fold", width=NAME)
    shares = {"the tutorial printed": 3, FAITHFUL: 5, CORRECTED: 6, "flaws removed": 5}
    for heading, share in shares.items():
        made.add_column(heading, overflow="fold", ratio=share)
    made.expand = True
    for recipe, result in pairs:
        name = Text(recipe.name, style="bold")
        name.append(f"\n{', '.join(recipe.experiments)}", style="dim")
        flaws = "\n".join(f"{flaw.number}. {flaw.says}" for flaw in recipe.flaws)
        made.add_row(
            name, Text(recipe.printed), _cell(result.faithful), _cell(result.corrected), Text(flaws, style="dim")
        )
    return made


def overview_text(pairs: Iterable[Pair], width: int = 160) -> str:
    """Return the table as text of at most `width` columns, without colours."""
    return captured(overview(pairs), width)


def sheet(form: FormResult) -> Table:
    """Return the table of a form: a row a part, with all that it reads, and what the part consists of."""
    names = list(dict.fromkeys(reading.name for part in form.parts for reading in part.readings))
    made = Table(
        box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False, padding=(0, 1), title=f"{form.form}: {form.says}"
    )
    made.title_justify = "left"
    made.add_column("part", overflow="fold")
    made.add_column("made of", overflow="fold")
    for name in names:
        made.add_column(in_words(name), overflow="fold")
    for part in form.parts:
        readings = {reading.name: reading for reading in part.readings}
        cells = [_value(readings[name]) if name in readings else Text("-") for name in names]
        made.add_row(Text(part.label, style="bold"), Text(made_of(part), style="dim"), *cells)
    return made


def made_of(part: PartResult) -> str:
    """Return what a part consists of, the run card: data, sizes, network, steps."""
    labels = "" if part.labels == "true" else f", labels {part.labels}"
    return (
        f"{part.spec}; {part.train_images} training and {part.val_images} validation images{labels};"
        f" {part.parameters:,} parameters; {part.steps:,} steps; {len(part.runs)} seed{'s' * (len(part.runs) > 1)}"
    )


def rows(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """Return the table a course ends with as plain values."""
    return [
        {
            "name": recipe.name,
            "experiments": list(recipe.experiments),
            "printed": recipe.printed,
            FAITHFUL: _plain(result.faithful),
            CORRECTED: _plain(result.corrected),
            "flaws": [{"number": flaw.number, "says": flaw.says} for flaw in recipe.flaws],
            "lesson": recipe.lesson,
        }
        for recipe, result in pairs
    ]


def golden_lines(results: Iterable[RecipeResult]) -> list[str]:
    """Return a sentence for each published number: reached, or not, and what was found."""
    said = []
    for result in results:
        for golden in (golden for form in result.forms for golden in form.golden):
            word = "reached" if golden.reached else "NOT reached"
            said.append(
                f"{word}: {golden.what}: {golden.found:.10g}, published {golden.expected:.10g}"
                f" (within {golden.tolerance:.0e}; {golden.source})"
            )
    return said


def number_text(name: str, value: float) -> str:
    """Return a number as a reader wants it: shares in percent, epochs whole."""
    return f"{100 * value:.1f} %" if is_share(name) else f"{value:{'.0f' if is_count(name) else '.4g'}}"


def _cell(form: FormResult | None) -> Text:
    if form is None:
        return Text("-", style="dim")
    shown = [(part, part.readings[0]) for part in form.parts if part.readings]
    made = Text()
    heading = ""
    for part, reading in shown:
        if reading.name != heading:
            heading = reading.name
            made.append(f"{in_words(heading)}\n", style="italic")
        made.append(f"{part.label} ", style="bold").append(_value(reading)).append("\n")
    made.rstrip()
    return made


def _value(reading: Reading) -> Text:
    made = Text(number_text(reading.name, reading.mean))
    if reading.low is not None and reading.high is not None:
        made.append(f" [{_bare(reading.name, reading.low)}, {_bare(reading.name, reading.high)}]")
    if reading.difference is not None and reading.difference_low is not None and reading.difference_high is not None:
        bounds = (reading.difference, reading.difference_low, reading.difference_high)
        first, low, high = (_bare(reading.name, bound, signed=True) for bound in bounds)
        made.append(f"; {first} [{low}, {high}]").append(f" {reading.word}", style=WORD_STYLES.get(reading.word, ""))
    return made


def _bare(name: str, value: float, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if is_share(name) else f"{value:{sign}{'.0f' if is_count(name) else '.3g'}}"


def _plain(form: FormResult | None) -> list[dict[str, Any]] | None:
    if form is None:
        return None
    return [
        {
            "part": part.label,
            "reading": reading.name,
            "mean": reading.mean,
            "low": reading.low,
            "high": reading.high,
            "n": reading.n,
            "difference": reading.difference,
            "difference_low": reading.difference_low,
            "difference_high": reading.difference_high,
            "word": reading.word or None,
        }
        for part in form.parts
        for reading in part.readings
    ]


def words_of(recipe: Recipe, result: RecipeResult) -> list[str]:
    """Return what is said of a recipe beside its tables: notes, flaws and the lesson."""
    said = [f"Note ({form.form}): {note}" for form in result.forms for note in form.notes]
    return [*said, *(f"Flaw {flaw.number}: {flaw.says}" for flaw in recipe.flaws), f"Lesson: {recipe.lesson}"]
