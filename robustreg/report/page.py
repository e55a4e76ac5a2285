"""The page a figure is drawn on: its style, its title and notes, and panels for many arms.

This file imports matplotlib; whoever wants `report` alone to stay cheap imports it inside a function.
"""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from .palette import FAINT, INK, LINE
from .wording import wrapped

MARGIN = 0.15  # inches around everything
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "white",
    "font.size": 8,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",  # real text, to be read, searched and spoken
    "svg.hashsalt": "robustreg",  # and the same bytes each time
    "text.color": INK,
    "text.parse_math": False,  # a dollar in the name of an arm is a dollar
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 7,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 7,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the reports, whatever the user's matplotlib is set to, which is left as it was."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a name in a script that the font has not
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


class Page(Figure):
    """A figure with a title, what it is about, a note below and, if wanted, a legend above.

    Args:
        title: a few words.
        subtitle: what the numbers belong to.
        note: how to read it, and what is missing.
        width: inches.
        height: inches, of the panels alone; the texts are added.
        legend: lines to leave for `legend_above`.
    """

    blank = False  # whether it only says why there is nothing to see

    def __init__(self, title: str, subtitle: str, note: str, *, width: float, height: float, legend: float = 0) -> None:
        room = width - 2 * MARGIN
        title, subtitle, note = wrapped(title, room, 11), wrapped(subtitle, room, 8), wrapped(note, room, 7)
        about = 0.17 * (1 + subtitle.count("\n"))
        top = MARGIN + 0.24 + 0.19 * title.count("\n")
        head = top + 0.02 + about + 0.26 * legend
        foot = MARGIN + (0.05 + 0.13 * (1 + note.count("\n")) if note else 0)
        whole = head + height + foot
        super().__init__(figsize=(width, whole))
        rect = (MARGIN / width, foot / whole, room / width, height / whole)
        self.set_layout_engine(ConstrainedLayoutEngine(rect=rect, h_pad=0.05, w_pad=0.05, hspace=0.03, wspace=0.03))
        self.title = title.replace("\n", " ")
        left = MARGIN / width
        self.text(left, 1 - MARGIN / whole, title, size=11, weight="bold", va="top")
        self.text(left, 1 - top / whole, subtitle, size=8, color=FAINT, va="top", linespacing=1.3)
        self.text(left, MARGIN / whole, note, size=7, color=FAINT, va="bottom", linespacing=1.2)
        self._legend_at = (left, 1 - (top + 0.06 + about) / whole)
        for text in self.texts:
            text.set_in_layout(False)

    def legend_above(self, handles: Sequence[Artist], labels: Sequence[str], *, columns: int | None = None) -> None:
        """Put a legend between the subtitle and the panels, on one line or in `columns`."""
        legend = self.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=self._legend_at,
            ncols=columns or len(labels),
            borderpad=0,
            borderaxespad=0,
            handlelength=2.2,
            columnspacing=1.6,
        )
        legend.set_in_layout(False)

    def panels(self, number: int, x: str, y: str) -> list[Axes]:
        """Return panels in a grid that share both axes, called `x` and `y`; the last row may not be full."""
        rows, columns = grid(number)
        axes = self.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for spare in axes.flat[number:]:
            spare.remove()
        for above in axes[-2, number - (rows - 1) * columns :] if rows > 1 else ():
            above.xaxis.set_tick_params(labelbottom=True)  # nothing is below it
        for left in axes[:, 0]:
            left.set_ylabel(y)
        for bottom in axes.flat[(rows - 1) * columns : number]:
            bottom.set_xlabel(x)
        return list(axes.flat[:number])

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save as `Figure.savefig`, in the style of the page: ticks are made only now."""
        engine = self.get_layout_engine()
        settle(self)
        with style():
            super().savefig(fname, **options)
        if engine is not None:
            self.set_layout_engine(engine)  # whoever changes the figure now finds it laid out anew

    def _repr_png_(self) -> bytes:
        return png(self, dpi=100)


def grid(number: int) -> tuple[int, int]:
    """Return rows and columns for a number of panels."""
    columns = number if number <= 4 else 3 if number in (5, 6, 9) else 4 if number <= 16 else 5
    return math.ceil(number / columns), columns


def legend_columns(labels: Sequence[str], room: float) -> int:
    """Return the most columns of a legend, filled column by column, that fit `room` inches."""
    for columns in range(len(labels), 1, -1):
        rows, more = divmod(len(labels), columns)
        ends = list(itertools.accumulate(rows + (column < more) for column in range(columns)))
        widest = [max(map(len, labels[start:end])) for start, end in zip([0, *ends], ends, strict=False)]
        if sum(0.51 + 0.064 * letters for letters in widest) <= room:
            return columns
    return 1


def empty(title: str, subtitle: str, why: str) -> Page:
    """Return a page that says why there is nothing to see."""
    page = Page(title, subtitle, "", width=7.4, height=1.2)
    page.blank = True
    axes = page.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, wrapped(why, 5.5, 9), ha="center", va="center", size=9, color=FAINT)
    return page


def caption(axes: Axes, name: str, about: str = "") -> None:
    """Write the name of an arm above a panel, and a smaller line about it below the name."""
    axes.set_title(name, loc="left", size=8, weight="bold", pad=14 if about else 4)
    if about:
        axes.text(0, 1.02, about, transform=axes.transAxes, size=7, color=FAINT, va="bottom")


def rule(axes: Axes, x: float) -> None:
    """Draw a thin dotted line at `x`, from the bottom to the top."""
    axes.axvline(x, color=LINE, linewidth=0.9, linestyle=":", zorder=1)


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG with real text; the same figure always gives the same bytes."""
    return _saved(figure, format="svg", metadata={"Date": None, "Title": getattr(figure, "title", "")})


def png(figure: Figure, *, dpi: int = 150) -> bytes:
    """Return a figure as PNG."""
    return _saved(figure, format="png", dpi=dpi)


def settle(figure: Figure) -> None:
    """Lay a figure out for good, so that this is not done again for every format, nor with other rounding errors."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    with style():
        engine.execute(figure)
        figure.set_layout_engine(None)  # "none" would keep a placeholder, for which every save draws twice
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(6)))
        axes.set_in_layout(True)


def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, **options)
    return buffer.getvalue()
