"""Clean against robust accuracy: what is given up for what, and what FGSM would claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..palette import LINE
from ..scatter import Dot, dots
from ..series import pareto, spread, spread_words, values
from ..wording import eps_text, left_out, subtitle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...study import Comparison

TITLE = "Clean against robust accuracy"


def clean_robust(comparison: Comparison) -> Figure:
    """Draw clean accuracy against worst-case accuracy at the headline eps, both in %, with the Pareto front."""
    from ..page import Page, empty, style
    from ..scatter import COLORS, draw, legend_beside, legend_width

    about = subtitle(comparison)
    found = dots(comparison, "robust_accuracy", "clean_accuracy")
    if not found:
        return empty(TITLE, about, "Nothing to show: no run on true labels finished with attack results.")
    front = pareto({dot.arm: (dot.x.mean, dot.y.mean) for dot in found})
    gone = [arm for arm in comparison.arms if arm not in {dot.arm for dot in found}]
    note = (
        "Hollow, at the end of a dotted line: where FGSM, a weak attack, would put the arm. Grey steps: the Pareto"
        " front, the arms that no other beats in both means."
        f" {spread_words((dot.x.n for dot in found), 'Crosses')} {COLORS}"
        f"\n{left_out(comparison, gone, 'no attack results')}"
    ).strip()
    by_name = {dot.arm: dot for dot in found}
    with style():
        page = Page(TITLE, about, note, width=6.0 + legend_width(found), height=4.6)
        axes = page.subplots()
        for dot in found:
            claim = spread(values(comparison, dot.arm, "fgsm_accuracy").values())
            if claim is not None:
                ends = ([100 * dot.x.mean, 100 * claim.mean], [100 * dot.y.mean] * 2)
                axes.plot(*ends, color=dot.look.color, lw=0.8, ls=":", alpha=0.8, zorder=2)
                axes.plot(*(end[1:] for end in ends), dot.look.marker, color=dot.look.color, mfc="white", ms=5, mew=0.8,
                          zorder=3)  # fmt: skip
        draw(axes, found)
        _steps(axes, [by_name[arm] for arm in front])
        axes.set_xlabel(f"robust accuracy (%): worst case at eps {eps_text(comparison.study['headline_eps'])}")
        axes.set_ylabel("clean accuracy on test images (%)")
        legend_beside(axes, found)
    return page


def _steps(axes: Axes, front: list[Dot]) -> None:
    """Draw the border of what the front beats: level from each arm to the left, then down to the next."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x = [left, *(100 * dot.x.mean for dot in front), 100 * front[-1].x.mean]
    y = [100 * front[0].y.mean, *(100 * dot.y.mean for dot in front), bottom]
    axes.step(x, y, where="pre", color=LINE, lw=2.2, zorder=1)
    axes.set(xlim=(left, right), ylim=(bottom, top))
