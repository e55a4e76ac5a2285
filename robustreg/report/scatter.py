"""Arms as points in a plane, with crosses over seeds: a colour a kind of regularizer, a marker an arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .kinds import kinds, look_of
from .palette import ARMS, Look, look
from .series import Spread, spread, values
from .wording import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..study import Comparison


ROWS = 17  # of a legend beside a panel
COLORS = "Colours: kinds of regularizers."


@dataclass(frozen=True)
class Dot:
    """An arm where two of its measures put it."""

    arm: str
    x: Spread
    y: Spread
    look: Look


def dots(comparison: Comparison, x: str, y: str) -> list[Dot]:
    """Return the arms that have both measures, in the order of the study."""
    found, looks = [], looks_of(comparison)
    for arm in comparison.arms:
        here, there = (spread(values(comparison, arm, name).values()) for name in (x, y))
        if here is not None and there is not None:
            found.append(Dot(arm, here, there, looks[arm]))
    return found


def looks_of(comparison: Comparison) -> dict[str, Look]:
    """Return the look of every arm: the colour of its kind, and a marker that no other arm has, or, in a study of more
    arms than there are markers, no other arm of its kind."""
    found, seen = {}, Counter[str]()
    for position, (arm, kind) in enumerate(kinds(comparison).items()):
        seen[kind] += 1
        marker = look(position if len(comparison.arms) <= ARMS or position == 0 else seen[kind]).marker
        found[arm] = Look(look_of(kind).color, marker)
    return found


def draw(axes: Axes, found: Sequence[Dot]) -> None:
    """Draw the points in %, faint crosses below all markers."""
    for dot in found:
        x, y = 100 * dot.x.mean, 100 * dot.y.mean
        axes.plot(_ends(dot.x), [y, y], [x, x], _ends(dot.y), color=dot.look.color, lw=0.9, alpha=0.45, zorder=2)
        axes.plot(x, y, dot.look.marker, color=dot.look.color, ms=8, mec="white", mew=0.7, ls="", zorder=4)


def legend_width(found: Sequence[Dot]) -> float:
    """Return the inches that `legend_beside` needs."""
    return 0.6 + _columns(found) * (0.35 + 0.075 * max(len(short(dot.arm)) for dot in found))


def legend_beside(axes: Axes, found: Sequence[Dot]) -> None:
    """Put the names of the arms to the right of a panel."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=dot.look.color, marker=dot.look.marker, ms=7, mec="white", mew=0.7, ls="") for dot in found
    ]
    legend = axes.legend(
        handles,
        ["arm"] * len(found),
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
        ncols=_columns(found),
        labelspacing=0.7,
    )
    for text, dot in zip(legend.get_texts(), found, strict=True):
        text.set_text(short(dot.arm))  # afterwards: a label that begins with "_" would be no entry at all


def _columns(found: Sequence[Dot]) -> int:
    return 1 + (len(found) - 1) // ROWS


def _ends(spread: Spread) -> list[float]:
    return [100 * min(1.0, max(0.0, end)) for end in (spread.low, spread.high)]
