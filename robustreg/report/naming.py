"""Names written beside the points of a panel, none on another, with a thin line to a point that is not close."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

SIZE = 6.5  # points, of the names
AIR = 1.0  # points around a name
RADIUS = 4.2  # points around the middle of a marker
FAR = 6.0  # points from which on a line ties a name to its marker


def write_names(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    *,
    bold: Iterable[int] = (),
    avoid: Iterable[tuple[float, float, float, float]] = (),
    always: bool = False,
    size: float = SIZE,
) -> bool:
    """Write `names` beside `points` (in the axes' units) on a figure that is laid out; False, and nothing, if one had
    to lie on another.

    Args:
        axes: with its final place and limits, as `page.settle` leaves them.
        points: where the markers are.
        names: one a point.
        bold: positions of names in bold.
        avoid: segments, in the axes' units, that names rather do not cover.
        always: write them even so.
        size: of the letters in points.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from .labels import place

    figure = axes.get_figure(root=True)
    assert figure is not None
    to_points = axes.transData + figure.dpi_scale_trans.inverted()
    anchors = [tuple(72 * to_points.transform(point)) for point in points]
    lines = [(*to_points.transform(each[:2]), *to_points.transform(each[2:])) for each in avoid]
    frame = axes.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    renderer = FigureCanvasAgg(figure).get_renderer()
    thick = set(bold)
    texts = [
        _text(axes, point, name, size, at in thick) for at, (point, name) in enumerate(zip(points, names, strict=True))
    ]
    sizes = []
    for text in texts:
        box = text.get_window_extent(renderer)
        sizes.append((72 * box.width / figure.dpi + 2 * AIR, 72 * box.height / figure.dpi + 2 * AIR))
    bounds = (72 * frame.x0, 72 * frame.y0, 72 * frame.x1, 72 * frame.y1)
    places = place(anchors, sizes, bounds, radius=RADIUS, avoid=[tuple(72 * end for end in line) for line in lines])
    if not always and not all(each.clear for each in places):
        for text in texts:
            text.remove()
        return False
    to_data = to_points.inverted()
    for text, anchor, each in zip(texts, anchors, places, strict=True):
        text.set_position((each.box[0] + AIR - anchor[0], each.box[1] + AIR - anchor[1]))
        if each.distance >= FAR:
            ends = to_data.transform([[end / 72 for end in anchor], [end / 72 for end in each.end]])
            axes.plot(*ends.T, color=INK, lw=0.5, zorder=3, solid_capstyle="butt")
    return True


def _text(axes: Axes, point: tuple[float, float], name: str, size: float, bold: bool) -> Text:
    return axes.annotate(
        name,
        point,
        (0, 0),
        textcoords="offset points",
        ha="left",
        va="bottom",
        size=size,
        color=INK,
        weight="bold" if bold else "normal",
        zorder=6,
        bbox={"boxstyle": "square,pad=0", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
    )
