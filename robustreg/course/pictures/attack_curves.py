"""Accuracy against eps under a naive and under an adaptive attack, before and after a defence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...report.palette import AMBER, BLUE, GREEN, INK, ORANGE, PINK, SKY
from ...report.series import Spread, gathered
from ...report.wording import denominator, plain, short
from ..result import PartResult, RecipeResult
from .frame import classes_of, dashes_of, finished, heading, nothing, page_of, panels

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recipe import Recipe

WHAT = "naive and adaptive attacks"
ADAPTIVE, NAIVE = "robust_curve", "fgsm_curve"
SAID = {ADAPTIVE: "every attack, the worst", NAIVE: "FGSM"}
OTHERS = (GREEN, PINK, AMBER, SKY)


class Curve(NamedTuple):
    """Accuracy by eps, and how it is drawn."""

    label: str
    color: str
    dashes: object
    width: float
    points: Mapping[float, Spread]


def attack_curves(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw accuracy in % by eps, a row of panels a form, a panel a part, a line an attack.

    A line is drawn for every number of the runs that is a curve by eps: `fgsm_curve`, `robust_curve` (the worst of all
    attacks), and others as `NAME_curve`, or as attacks by name each with its own curve.
    """
    from ...report.page import caption, legend_columns, style

    rows = panels(results, lambda part: bool(curves_of(part)))
    if not rows:
        return nothing(WHAT, results, recipe, "no run was attacked")
    columns = max(map(len, rows))
    drawn = {key: curve for row in rows for _, part in row for key, curve in curves_of(part).items()}
    known = [each.n for row in rows for _, part in row for one in curves_of(part).values() for each in one.values()]
    lines = _looks(list(drawn))
    note = (
        "Solid: the worst that any attack did, those made for the defence among them; dashed: attacks that a defence"
        " may blind. A defence that is real raises the solid line. Empirical: a stronger attack may be found.",
        "Bands: 95 % t interval over seeds." if max(known) > 2 else "",
        "One seed: thin lines." if min(known) == 1 else "",
        "Dotted: guessing.",
    )
    width, labels = max(6.4, 0.8 + 2.3 * columns), [lines[key][0] for key in lines]
    beside = legend_columns(labels, width - 0.3)
    size = {"width": width, "height": 2.3 * len(rows), "legend": 0.3 + 0.7 * -(-len(labels) // beside)}
    with style():
        page = page_of(WHAT, results, recipe, note=note, **size)
        grid = page.subplots(len(rows), columns, squeeze=False, sharey=True, sharex=True)
        for row, cells in zip(rows, grid, strict=True):
            for cell in cells[len(row) :]:
                cell.remove()
            cells[0].set_ylabel(f"accuracy (%)\n{heading(row[0].form)}")
            for axes, (_, part) in zip(cells, row, strict=False):
                found = curves_of(part)
                _panel(axes, part, [Curve(*lines[key], found[key]) for key in lines if key in found])
                caption(axes, short(part.label, 34), _words(part, found))
        everywhere = [eps for curve in drawn.values() for eps in curve]
        for axes in grid[-1][: len(rows[-1])]:
            axes.set_xlabel(_eps_label(everywhere))
        _ticks(grid[0][0], everywhere)
        page.legend_above([_handle(lines[key]) for key in lines], labels, columns=beside)
    return page


def curves_of(part: PartResult) -> dict[str, dict[float, Spread]]:
    """Return the curves by eps of a part's runs, by the name of the number, or of the attack within it."""
    found: dict[str, dict[float, Spread]] = {}
    names = dict.fromkeys(name for run in finished(part) for name in run.numbers)
    for name in names:
        values = [run.numbers.get(name) for run in finished(part)]
        nested = dict.fromkeys(
            key
            for value in values
            if isinstance(value, Mapping)
            for key, each in value.items()
            if isinstance(each, Mapping)
        )
        for key in nested:
            within = [value.get(key) for value in values if isinstance(value, Mapping)]
            found |= {str(key): curve} if (curve := _by_eps(within)) else {}
        if not nested and (curve := _by_eps(values)):
            found[name] = curve
    return found


def headline(part: PartResult) -> float | None:
    """Return the eps of the numbers that are no curves: where a curve has, in every run, the value of its accuracy."""
    runs = [run.numbers for run in finished(part)]
    for name, curve in (("fgsm_accuracy", NAIVE), ("robust_accuracy", ADAPTIVE)):
        pairs = [(one.get(name), one.get(curve)) for one in runs]
        shared = [{eps for eps, at in of.items() if at == value} for value, of in pairs if isinstance(of, Mapping)]
        same = set.intersection(*shared) if shared else set()
        if len(same) == 1:
            return float(same.pop())
    return None


def _by_eps(values: Sequence[object]) -> dict[float, Spread]:
    try:
        found = {float(key): each for key, each in gathered(values).items()}
    except ValueError:  # by layer or by class, not by eps
        return {}
    return dict(sorted(found.items())) if len(found) > 1 else {}


def _looks(keys: list[str]) -> dict[str, tuple[str, str, object, float]]:
    """Label, colour, dashes and width of every curve: the adaptive solid and first, the naive dashed."""
    others = [key for key in keys if key not in SAID]
    found: dict[str, tuple[str, str, object, float]] = {}
    if ADAPTIVE in keys:
        found[ADAPTIVE] = (SAID[ADAPTIVE], BLUE, "-", 1.8)
    if NAIVE in keys:
        scale_free = ", on a loss that scale does not fool" if any("cross_entropy" in key for key in others) else ""
        found[NAIVE] = (f"{SAID[NAIVE]}{scale_free}", ORANGE, dashes_of(1), 1.3)
    for at, key in enumerate(others):
        label = short(plain(key).removesuffix("_curve").replace("_", " "), 30)
        found[key] = (label, OTHERS[at % len(OTHERS)], dashes_of(2 + at), 1.3)
    return found


def _panel(axes: Axes, part: PartResult, curves: list[Curve]) -> None:
    for label, color, dashes, width, points in curves:
        eps = list(points)
        thin = 0.6 if len(finished(part)) == 1 else 1.0
        axes.plot(eps, [100 * each.mean for each in points.values()], color=color, ls=dashes, lw=thin * width,
                  label=label, marker="o", ms=2.2)  # fmt: skip
        low = [100 * max(0.0, each.low) for each in points.values()]
        high = [100 * min(1.0, each.high) for each in points.values()]
        axes.fill_between(eps, low, high, color=color, alpha=0.14, linewidth=0)
    if classes_of(part) > 1:
        axes.axhline(100 / classes_of(part), color=INK, lw=0.7, ls=(0, (1, 2)), zorder=1)
    axes.set_ylim(-3, 103)


def _words(part: PartResult, found: Mapping[str, Mapping[float, Spread]]) -> str:
    """What the kindest of the naive attacks and the worst of all leave, at the headline eps or at the largest."""
    eps = headline(part) or max(eps for curve in found.values() for eps in curve)
    kindest = max((curve[eps].mean for key, curve in found.items() if key != ADAPTIVE and eps in curve), default=None)
    worst = found.get(ADAPTIVE, {}).get(eps)
    said = [f"naive {100 * kindest:.0f} %"] if kindest is not None else []
    said += [f"worst {100 * worst.mean:.0f} %"] if worst is not None else []
    return f"at eps {eps:.3g}: {', '.join(said)}"


def _eps_label(grid: list[float]) -> str:
    below = denominator(grid)
    return "eps (pixel units, 0 to 1)" if below is None else f"eps (in 1/{below} of the pixel range)"


def _ticks(axes: Axes, grid: list[float]) -> None:
    below = denominator(grid)
    if below is None:
        axes.locator_params(axis="x", nbins=5)
        return
    step = max(1, round(max(grid) * below / 5))
    ticks = list(range(0, round(max(grid) * below) + 1, step))
    axes.set_xticks([tick / below for tick in ticks], [str(tick) for tick in ticks])


def _handle(line: tuple[str, str, object, float]) -> Artist:
    from matplotlib.lines import Line2D

    _, color, dashes, width = line
    return Line2D([], [], color=color, ls=dashes, lw=width)
