"""What all pictures of the course share: the page of a result, its panels, lines over seeds, and chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...report.palette import BASELINE, BLUE, INK, LINE, ORANGE, Look, look
from ...report.series import Spread, spread
from ...report.wording import counted, joined, plain, short
from ..result import FAITHFUL, FormResult, PartResult, RecipeResult, SeedResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...report.page import Page
    from ..recipe import Recipe

HEADINGS = {FAITHFUL: "as the tutorial did it"}
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (5, 1.4, 1.2, 1.4)),
    (0, (1.4, 1.2)),
    (0, (7, 1.2, 1.2, 1.2, 1.2, 1.2)),
)
TRAIN, VAL = (BLUE, "-"), (ORANGE, (0, (5, 1.6)))
MOST_POINTS = 400  # of a line: more cannot be seen, and make large files
MOST_PARTS = 6  # panels in a row
FEW = 2  # parts in a panel that leave room for a line a seed

Values = Mapping[int, Spread]  # by epoch, counted from 1


class Panel(NamedTuple):
    """One part of one form, where it goes."""

    form: FormResult
    part: PartResult


def heading(form: FormResult) -> str:
    """Return what a form is called above its panels."""
    return HEADINGS.get(form.form, form.form)


def panels(results: RecipeResult, keep: Callable[[PartResult], bool]) -> list[list[Panel]]:
    """Return the parts that have something to show, one list a form, up to `MOST_PARTS` each; no empty list."""
    rows = [[Panel(form, part) for part in form.parts if keep(part)][:MOST_PARTS] for form in results.forms]
    return [row for row in rows if row]


def subtitle(results: RecipeResult) -> str:
    """Return data, model and size of both forms, in one line each."""
    lines = []
    for form in results.forms:
        seeds = sorted({len(part.runs) for part in form.parts})
        facts = [
            f"data {_each(short(part.data, 40) for part in form.parts)}",
            f"model {_each(f'{short(part.model, 40)} ({part.parameters:,} parameters)' for part in form.parts)}",
            f"{_numbers(part.train_images for part in form.parts)} training {_things(form.parts)}",
            f"{_numbers(part.steps for part in form.parts)} steps",
            counted(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds",
        ]
        lines.append(f"{heading(form).capitalize()}: {' · '.join(facts)}")
    return "\n".join(lines)


def caption(results: RecipeResult, recipe: Recipe | None, *sentences: str) -> str:
    """Return the text under a picture: how to read it, runs that were lost, and what is wrong with the printed form."""
    lost = []
    for form in results.forms:
        for part in form.parts:
            gone = [run.status for run in part.runs if run.status != "ok"]
            if gone:
                lost.append(f"{short(part.label)}, {heading(form)} ({len(gone)} of {len(part.runs)} runs {gone[0]})")
    flawed = recipe is not None and results.faithful is not None
    flaws = [f"({flaw.number}) {flaw.says}" for flaw in recipe.flaws] if flawed and recipe is not None else []
    return "\n".join(
        filter(
            None,
            (
                joined(*sentences),
                f"Without the runs that were lost: {'; '.join(lost)}." if lost else "",
                f"What is wrong with the printed form: {' '.join(flaws)}" if flaws else "",
            ),
        )
    )


def title_of(what: str, results: RecipeResult, recipe: Recipe | None) -> str:
    """Return the title of a picture: the recipe's, and what of it is shown."""
    return f"{plain(recipe.title if recipe is not None else results.name)}: {what}"


def page_of(
    what: str,
    results: RecipeResult,
    recipe: Recipe | None,
    *,
    note: Sequence[str],
    width: float,
    height: float,
    legend: float = 0,
) -> Page:
    """Return the page of a picture; to be called, and drawn on, within `report.page.style`."""
    from ...report.page import Page

    return Page(
        title_of(what, results, recipe), subtitle(results), caption(results, recipe, *note), width=width, height=height,
        legend=legend,
    )  # fmt: skip


def nothing(what: str, results: RecipeResult, recipe: Recipe | None, why: str) -> Page:
    """Return a page that says why there is nothing to see."""
    from ...report.page import empty

    return empty(title_of(what, results, recipe), subtitle(results), f"Nothing to show: {why}.")


def finished(part: PartResult) -> list[SeedResult]:
    """Return the runs of a part that are to be drawn."""
    return [run for run in part.runs if run.status == "ok"]


def column(run: SeedResult, key: str) -> dict[int, float]:
    """Return a column of the history by epoch, counted from 1; without values that are not finite."""
    found = ((int(row.get("epoch", at)) + 1, row.get(key, math.nan)) for at, row in enumerate(run.history))
    return {epoch: float(value) for epoch, value in found if math.isfinite(value)}


def has(key: str) -> Callable[[PartResult], bool]:
    """Return whether a part has a column in the history of a finished run."""
    return lambda part: any(column(run, key) for run in finished(part))


def over_seeds(part: PartResult, key: str) -> dict[int, Spread]:
    """Return the mean of a column and its t interval by epoch, for as long as every finished run goes on."""
    columns = [found for run in finished(part) if (found := column(run, key))]
    shared = sorted(set.intersection(*(set(found) for found in columns))) if columns else []
    spreads = {epoch: spread(found[epoch] for found in columns) for epoch in thinned(shared)}
    return {epoch: each for epoch, each in spreads.items() if each is not None}


def thinned(epochs: Sequence[int]) -> list[int]:
    """Return at most about `MOST_POINTS` of the epochs, evenly, with the first and the last."""
    stride = max(1, -(-len(epochs) // MOST_POINTS))
    return [*epochs[:-1:stride], *epochs[-1:]]


def draw_lines(
    axes: Axes, part: PartResult, key: str, color: str, dashes: Any, label: str, *, scale: float = 100.0, crowd: int = 1
) -> None:
    """Draw a column of the history: one thin line for one seed; else the mean with its band, and a faint line a seed.

    Args:
        axes: where.
        part: whose.
        key: of the history.
        color: of all of it.
        dashes: of the mean.
        label: for a legend.
        scale: 100 for shares in %.
        crowd: parts in the panel; with more than `FEW` the bands are paler and the single seeds left out.
    """
    runs = [found for run in finished(part) if (found := column(run, key))]
    if not runs:
        return
    if len(runs) == 1:
        epochs = thinned(list(runs[0]))
        axes.plot(epochs, [scale * runs[0][at] for at in epochs], color=color, ls=dashes, lw=1.0, label=label)
        return
    for found in runs if crowd <= FEW else ():
        epochs = thinned(list(found))
        axes.plot(epochs, [scale * found[at] for at in epochs], color=color, lw=0.4, alpha=0.3)
    mean = over_seeds(part, key)
    epochs = list(mean)
    axes.plot(epochs, [scale * mean[at].mean for at in epochs], color=color, ls=dashes, lw=1.6, label=label)
    low, high = ([scale * getattr(mean[at], end) for at in epochs] for end in ("low", "high"))
    axes.fill_between(epochs, low, high, color=color, alpha=0.15 if crowd <= FEW else 0.09, linewidth=0)


def seeds_words(parts: Iterable[PartResult], crowd: int = 1) -> str:
    """Return what the lines are, for these numbers of seeds and of parts in a panel."""
    numbers = {len(finished(part)) for part in parts}
    each = ", and a faint line each" if crowd <= FEW else ""
    return joined(
        "One seed: one thin line, and no telling how far chance took it." if 1 in numbers else "",
        f"More seeds: their mean with its 95 % t interval{each}." if numbers - {0, 1} else "",
    )


def label_of(part: PartResult) -> str:
    """Return what a reader calls the part."""
    return part.label


def looks(results: RecipeResult, named: Callable[[PartResult], str] = label_of) -> dict[str, Look]:
    """Return a look for every name of a part, the same in both forms; the baseline's is grey."""
    parts = [part for form in results.forms for part in form.parts]
    base = next((form.baseline for form in results.forms if form.baseline and named is label_of), None)
    labels = list(dict.fromkeys(map(named, parts)))
    others = [label for label in labels if label != base]
    return {label: BASELINE if label == base else look(1 + others.index(label)) for label in labels}


def dashes_of(at: int) -> Any:
    """Return the dashes of the line at a position, so that print without colour tells lines apart."""
    return DASHES[at % len(DASHES)]


def class_names(part: PartResult) -> tuple[str, ...]:
    """Return the names of the classes of a part's data set, where it is a named one; else none."""
    classes = _classes(part)
    return classes if isinstance(classes, tuple) else ()


def classes_of(part: PartResult) -> int:
    """Return the number of classes: as the part says, or as its data set does; 0 where it cannot be known."""
    said = getattr(part, "classes", None) or _classes(part)
    return len(said) if isinstance(said, tuple) else said if isinstance(said, int) else 0


def _classes(part: PartResult) -> tuple[str, ...] | int | None:
    from ...data import datasets

    name = part.data.partition(":")[0]
    return next((source.classes for source in datasets() if source.name == name), None)


def draw_chance(axes: Axes, part: PartResult, images: int) -> bool:
    """Draw what guessing gets, and where 95 % of such results on so many images lie; False where it is not known."""
    classes = classes_of(part)
    if classes < 2:
        return False
    axes.axhline(100 / classes, color=INK, lw=0.7, ls=(0, (1, 2)), zorder=1)
    if images > 0:
        low, high = guessing_band(images, classes)
        axes.axhspan(100 * low, 100 * high, color=LINE, alpha=0.35, lw=0, zorder=0)
    return True


def guessing_band(images: int, classes: int) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of the share that guessing gets right: those of the binomial law."""
    rate = 1 / classes
    below = 0.0
    quantiles: list[float] = []
    for right in range(images + 1):
        ways = math.lgamma(images + 1) - math.lgamma(right + 1) - math.lgamma(images - right + 1)
        below += math.exp(ways + right * math.log(rate) + (images - right) * math.log1p(-rate))
        quantiles += [right / images] * sum(len(quantiles) <= at and below >= q for at, q in enumerate((0.025, 0.975)))
        if len(quantiles) == 2:
            break
    return quantiles[0], quantiles[1]


CHANCE = "Grey: guessing, and where 95 % of such results lie on the validation images."


def log_axis(axes: Axes) -> None:
    """Make the y axis of a drawn panel logarithmic, with plain numbers: the style parses no mathematics."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    few = math.log10(high / low) < 2.5
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=7))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _things(parts: Sequence[PartResult]) -> str:
    return "points" if all(part.points is not None for part in parts) else "images"


def _each(said: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(map(plain, said)))


def _numbers(values: Iterable[int]) -> str:
    return " or ".join(f"{number:,}" for number in sorted(set(values)))
