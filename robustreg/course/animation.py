"""The toy regression as an animation: the fitted function every now and then, as a GIF, with no external program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.palette import BASELINE, BLUE, FAINT, INK, LINE, ORANGE, SKY
from ..report.wording import short
from .pictures.frame import Panel, column, finished, heading, log_axis, nothing, page_of, panels, thinned
from .pictures.toy_fit import LEARNED, draw_fit, fitted, limits
from .result import PartResult, RecipeResult, Snapshot

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .recipe import Recipe

WHAT = "learning, step by step"
DPI = 100
FRAME, LAST = 250, 2000  # milliseconds
SHADES = 34  # of each colour; 7 colours then fit the 256 that a GIF can have
MOST_PANELS = 3


@dataclass
class Animation:
    """A figure, the number of its frames, and what moves in it.

    Attributes:
        figure: laid out anew whenever it is saved.
        frames: one a snapshot.
        draw: shows the frame at a position.
        moving: what a frame changes, and what lies above that, from the back to the front.
    """

    figure: Figure
    frames: int
    draw: Callable[[int], None]
    moving: list[Artist]


def animation(results: RecipeResult, recipe: Recipe | None = None) -> Animation:
    """Return the toy regression as an animation: of two forms the first that kept its functions.

    A column a part: points, truth and the fitted function above, the errors and the epoch that is shown below.
    """
    from ..report.page import style

    rows = panels(results, fitted)
    if not rows:
        blank = nothing(WHAT, results, recipe, "no run kept the function it had fitted")
        return Animation(blank, 1, lambda at: None, [])
    shown = rows[0][:MOST_PANELS]
    only = RecipeResult(results.name, **{shown[0].form.form: shown[0].form})
    with style():
        note = ("Above: what the network computes; below: its errors, and the epoch shown.",)
        width = 2.9 * max(2, len(shown)) + 0.6
        page = page_of(WHAT, only, recipe, width=width, height=3.6, legend=1, note=note)
        grid = page.subplots(2, len(shown), squeeze=False, height_ratios=[2, 1], sharex="row", sharey="row")
        columns = [_column(above, below, panel) for above, below, panel in zip(grid[0], grid[1], shown, strict=True)]
        for below in grid[1]:
            log_axis(below)
        grid[0][0].set_ylim(*limits([part for _, part in shown]))
        grid[0][0].set_ylabel("y")
        grid[1][0].set_ylabel("mean squared error")
        handles, labels = grid[0][0].get_legend_handles_labels()
        more, and_these = grid[1][0].get_legend_handles_labels()
        page.legend_above([*handles, *more], [*labels, *and_these])

    def draw(at: int) -> None:
        for update, _ in columns:
            update(at)

    draw(0)
    frames = max(len(one.snapshots) for _, part in shown for one in finished(part))
    return Animation(page, frames, draw, [artist for _, artists in columns for artist in artists])


def write_gif(results: RecipeResult, path: Path, recipe: Recipe | None = None) -> Path:
    """Write the animation of a toy regression as a GIF that is shown again and again, and return its path.

    One frame a snapshot, the last one for longer. The same results give the same bytes.
    """
    from io import BytesIO

    from PIL import Image

    from ..study import write_whole

    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette())
    images = [
        image.quantize(palette=palette, dither=Image.Dither.NONE) for image in _images(animation(results, recipe))
    ]
    content = BytesIO()
    durations = [FRAME] * (len(images) - 1) + [LAST]
    images[0].save(content, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())
    return path


def _images(shown: Animation) -> Iterator[Any]:
    """The frames as RGB images: what stands still is drawn once."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    from ..report.page import settle, style

    shown.figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(shown.figure)
    settle(shown.figure)
    with style():
        for artist in shown.moving:
            artist.set_animated(True)
        canvas.draw()
        still = canvas.copy_from_bbox(shown.figure.bbox)
        for at in range(shown.frames):
            shown.draw(at)
            canvas.restore_region(still)
            for artist in shown.moving:
                artist.draw(canvas.get_renderer())
            yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _palette() -> list[int]:
    """The colours of all frames: those of the picture, each in steps to white, as the edges of lines have them."""
    steps = np.linspace(0, 1, SHADES)[:, None]
    inks = [INK, FAINT, LINE, BASELINE.color, BLUE, ORANGE, SKY]
    colors = [[int(ink[at : at + 2], 16) for at in (1, 3, 5)] for ink in inks]
    shades = np.concatenate([(1 - steps) * np.array(color) + steps * 255 for color in colors])
    return [round(value) for value in shades.ravel()]


def _column(above: Axes, below: Axes, panel: Panel) -> tuple[Callable[[int], None], list[Artist]]:
    """Draw a part; return what moves it to the snapshot at a position, and what is then drawn, back to front."""
    from ..report.page import caption

    form, part = panel
    lines = draw_fit(above, part, 0)
    points = next(line for line in above.get_lines() if line.get_label() == LEARNED)
    first, *others = [run for run in finished(part) if run.snapshots]
    shown = [*reversed(others), first]
    for key, color, dashes, label in _ERRORS:
        found = column(first, key)
        epochs = thinned(list(found))
        below.plot(epochs, [found[at] for at in epochs], color=color, ls=dashes, lw=1.0, label=label)
    below.set_xlabel("epoch")
    above.set_xlabel("x")
    (now,) = below.plot([0, 0], [0, 1], color=INK, lw=1.0, transform=below.get_xaxis_transform())
    caption(above, short(part.label, 34), heading(form))
    said = above.text(0.98, 0.03, "", transform=above.transAxes, ha="right", size=8, color=INK)

    def update(at: int) -> None:
        for line, run in zip(lines, shown, strict=True):
            line.set_ydata(_snapshot(run.snapshots, at).outputs)
        epoch = _snapshot(first.snapshots, at).epoch
        now.set_xdata([epoch, epoch])
        said.set_text(f"epoch {epoch:,}{_error_words(part, epoch)}")

    return update, [*lines, points, now, said]


_ERRORS = (("train_error", INK, "-", "training error"), ("val_error", ORANGE, (0, (5, 1.6)), "validation error"))


def _error_words(part: PartResult, epoch: int) -> str:
    found = column(next(run for run in finished(part) if run.snapshots), "val_error")
    return f", error {found[epoch]:.2f}" if epoch in found else ""


def _snapshot(snapshots: Sequence[Snapshot], at: int) -> Snapshot:
    return snapshots[min(at, len(snapshots) - 1)]
