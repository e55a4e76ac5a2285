"""Colours and markers that stay apart in print and for colour-blind eyes.

Okabe and Ito, Color universal design, 2008; without its yellow and black, which paper and text swallow.
"""

from __future__ import annotations

from dataclasses import dataclass

INK = "#222222"
FAINT = "#6b6b6b"  # the lightest grey that is still easy to read on white
LINE = "#c8c8c8"
BLUE, ORANGE, GREEN, PINK, AMBER, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"

_COLORS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY)
_MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*", "d", "8")
ARMS = 1 + len(_MARKERS)  # that can each have a marker of their own


@dataclass(frozen=True)
class Look:
    """How an arm or a word is drawn; a hollow marker has white inside."""

    color: str
    marker: str
    hollow: bool = False


BASELINE = Look("#4d4d4d", "o")

# Kinds of regularizers, each with its own colour and its own marker: print without colour tells them apart as well.
INDIGO = "#332288"
KINDS = {
    "weights": Look(BLUE, "s"),
    "network": Look(GREEN, "P"),
    "augmentation": Look(SKY, "D"),
    "labels and outputs": Look(PINK, "v"),
    "smooth in the input": Look(AMBER, "h"),
    "adversarial": Look(ORANGE, "^"),
    "schedule": Look(INDIGO, "X"),
    "several kinds": Look(INK, "*"),
    "other": Look("#8c6d31", "<"),
}

WORDS = {
    "better": Look(BLUE, "^"),
    "worse": Look(ORANGE, "v"),
    "equivalent": Look(GREEN, "s"),
    "cannot tell": Look(FAINT, "o", hollow=True),
}


def look(position: int) -> Look:
    """Return the look of the arm at this position, the baseline's at 0; the first 78 others all differ."""
    if position == 0:
        return BASELINE
    return Look(_COLORS[(position - 1) % len(_COLORS)], _MARKERS[(position - 1) % len(_MARKERS)])
