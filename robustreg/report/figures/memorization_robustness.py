"""The memorization-robustness plane: what arms learn of wrong labels, against what withstands attack; all named."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ..kinds import NOTHING, kinds, look_of
from ..naming import SIZE, write_names
from ..palette import FAINT, INK, LINE
from ..scatter import Dot, dots
from ..series import MEMORIZED, Spread, noisiest, pareto, spread_words
from ..wording import eps_text, joined, left_out, short, subtitle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...study import Comparison
    from ..page import Page

TITLE = "Memorization and robustness"
DOUBLE, SINGLE = 7.2, 3.5  # inches: two columns of a journal's page, and one
ROW = 0.118  # inches, of a line of the key
LOST = "red flag"


class Point(NamedTuple):
    """An arm with its kind, and whether a red flag says that it cannot be trusted."""

    dot: Dot
    kind: str
    red: bool

    @property
    def at(self) -> tuple[float, float]:
        """Memorized and robust, in %."""
        return 100 * self.dot.x.mean, 100 * self.dot.y.mean


def memorization_robustness(comparison: Comparison, *, width: float = DOUBLE) -> Figure:
    """Draw worst-case robust accuracy against the memorized share of wrong labels, both in %, one named point an arm.

    Names stand beside their markers where all have room, else numbers do, with the names below. An arm with a red
    flag is hollow and not on the Pareto front.

    Args:
        comparison: with runs on random labels.
        width: inches, as `DOUBLE` or `SINGLE`.
    """
    from ..page import empty, style

    about = subtitle(comparison)
    condition = noisiest(comparison)
    if condition is None:
        return empty(TITLE, about, "Nothing to show: the study has no random labels (label_noise).")
    kind = kinds(comparison)
    found = [
        Point(dot, kind[dot.arm], any(flag["level"] == "red" for flag in comparison.trust[dot.arm]))
        for dot in dots(comparison, MEMORIZED, "robust_accuracy")
    ]
    if not found:
        return empty(TITLE, about, f"Nothing to show: no arm has finished runs on both true and {condition} labels.")
    with style():
        whole, cut = ([short(point.dot.arm, most) for point in found] for most in (34, 26))
        for names in (whole, cut) if width > SINGLE else ():
            page = _plane(comparison, found, width, names)
            if page is not None:
                return page
        page = _plane(comparison, found, width, [str(at + 1) for at in range(len(found))], key=cut)
        assert page is not None
    return page


def _plane(
    comparison: Comparison, found: list[Point], width: float, names: list[str], key: list[str] | None = None
) -> Page | None:
    """The page with these names on it, or with a key to numbers below; None where names have no room."""
    from ..page import MARGIN, Page, legend_columns, settle

    handles = _handles(found)
    columns = legend_columns(list(handles), width - 2 * MARGIN)
    key_columns = max(1, int(width / 1.7))
    key_rows = math.ceil(len(key) / key_columns) if key else 0
    height = min(0.86 * width + 0.3, 0.5 * width + 0.1 * len(found) + 0.8) + ROW * key_rows
    page = Page(
        TITLE,
        subtitle(comparison),
        _note(comparison, found),
        width=width,
        height=height,
        legend=0.35 + 0.65 * math.ceil(len(handles) / columns),
    )
    axes, below = page.subplots(2, 1, height_ratios=[height - ROW * key_rows, max(ROW * key_rows, 1e-3)])
    below.set_axis_off()
    axes.set_xlabel("memorized (% of wrong labels)")
    axes.set_ylabel(f"robust accuracy (%), eps {eps_text(comparison.study['headline_eps'])}")
    for point in found:
        _draw(axes, point)
    axes.set_xlim(*_limits([point.at[0] for point in found]))
    axes.set_ylim(*_limits([point.at[1] for point in found]))
    _front(axes, found)
    page.legend_above(list(handles.values()), list(handles), columns=columns)
    settle(page)
    bold = [at for at, point in enumerate(found) if point.kind == NOTHING]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    lines = [segment for point in found for segment in _cross(point)]
    for x, y in (found[at].at for at in bold):
        lines += [(x, bottom, x, top), (left, y, right, y)]
    if not write_names(axes, [point.at for point in found], names, bold=bold, avoid=lines, always=key is not None):
        return None
    if key:
        box = below.get_position(original=True)
        below.set_position((MARGIN / width, box.y0, 1 - 2 * MARGIN / width, box.height))
        _key(below, found, key, key_rows, key_columns)
    else:
        below.remove()
    return page


def _note(comparison: Comparison, found: list[Point]) -> str:
    shown = {point.dot.arm for point in found}
    return joined(
        "Best is up and to the left. Memorized: the share of wrongly labelled training images predicted as their wrong"
        f" label, after training on {noisiest(comparison)} labels. Robust: the share of test images that no attack"
        " broke, after training on true labels; empirical, against these attacks.",
        spread_words((each.n for point in found for each in (point.dot.x, point.dot.y)), "Crosses"),
        "Dotted: the baseline." if any(point.kind == NOTHING for point in found) else "",
        "Hollow: an attack or a training failed (red flag), and the arm is not on the front."
        if any(point.red for point in found)
        else "",
        left_out(comparison, [arm for arm in comparison.arms if arm not in shown], "no runs of both kinds"),
    )


def _draw(axes: Axes, point: Point) -> None:
    look, (x, y) = look_of(point.kind), point.at
    for x0, y0, x1, y1 in _cross(point):
        axes.plot([x0, x1], [y0, y1], color=look.color, lw=0.8, alpha=0.3, zorder=2)
    inside, edge = ("white", look.color) if point.red else (look.color, "white")
    size, line = _size(look.marker, 9.0 if point.kind == NOTHING else 6.5), 1.0 if point.red else 0.6
    axes.plot(x, y, look.marker, mfc=inside, mec=edge, ms=size, mew=line, ls="", zorder=5, label=point.dot.arm)
    if point.kind == NOTHING:
        axes.axvline(x, color=look.color, lw=0.8, ls=":", zorder=1)
        axes.axhline(y, color=look.color, lw=0.8, ls=":", zorder=1)


def _cross(point: Point) -> list[tuple[float, float, float, float]]:
    """The two lines of the interval cross, in %."""

    def ends(spread: Spread) -> tuple[float, float]:
        return 100 * min(1.0, max(0.0, spread.low)), 100 * min(1.0, max(0.0, spread.high))

    (x, y), (left, right), (bottom, top) = point.at, ends(point.dot.x), ends(point.dot.y)
    return [(left, y, right, y), (x, bottom, x, top)]


def _limits(values: list[float]) -> tuple[float, float]:
    """From a little below the smallest to a little above the largest, with room for names."""
    air = max(3.0, 0.09 * (max(values) - min(values)))
    return min(values) - air, max(values) + air


def _front(axes: Axes, found: list[Point]) -> None:
    """Draw the border of what the front beats: from the arm that memorizes least up, and level to the right."""
    points = {point.dot.arm: (-point.at[0], point.at[1]) for point in found if not point.red}
    if not points:
        return
    front = sorted((-x, y) for x, y in (points[arm] for arm in pareto(points)))
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x = [front[0][0], *(x for x, _ in front), right]
    y = [bottom, *(y for _, y in front), front[-1][1]]
    axes.step(x, y, where="post", color=LINE, lw=2.0, zorder=1)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _handles(found: list[Point]) -> dict[str, Any]:
    """What the legend shows: the kinds that occur, in the order of the palette, and what else there is."""
    from matplotlib.lines import Line2D

    from ..palette import KINDS

    used = {point.kind for point in found}
    looks = {kind: look_of(kind) for kind in (NOTHING, *KINDS) if kind in used}
    handles: dict[str, Any] = {
        kind: Line2D([], [], color=look.color, marker=look.marker, ms=_size(look.marker), mec="white", mew=0.6, ls="")
        for kind, look in looks.items()
    }
    if any(point.red for point in found):
        handles[LOST] = Line2D([], [], color=INK, marker="o", mfc="white", ms=6.5, mew=1.1, ls="")
    if any(not point.red for point in found):
        handles["Pareto front"] = Line2D([], [], color=LINE, lw=2.0)
    return handles


def _size(marker: str, plain: float = 6.5) -> float:
    """The size at which a marker looks as large as a circle of size `plain`."""
    return plain * {"*": 1.5, "P": 1.25, "X": 1.2, "h": 1.1}.get(marker, 1.0)


def _key(axes: Axes, found: list[Point], names: list[str], rows: int, columns: int) -> None:
    """Write the numbers with their names, column by column."""
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    for at, (point, name) in enumerate(zip(found, names, strict=True)):
        column, row = divmod(at, rows)
        look, y = look_of(point.kind), row + 0.5
        inside = "white" if point.red else look.color
        axes.text(column + 0.1, y, str(at + 1), size=SIZE, ha="right", va="center", color=FAINT)
        axes.plot(column + 0.16, y, look.marker, ms=_size(look.marker, 4), mfc=inside, mec=look.color, mew=0.5,
                  clip_on=False)  # fmt: skip
        weight = "bold" if point.kind == NOTHING else "normal"
        axes.text(column + 0.21, y, name, size=SIZE, va="center", weight=weight)
