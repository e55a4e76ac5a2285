"""The words of a report: names made safe to show, eps, seeds, and what runs were lost."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..study import Comparison

SAME = "(every seed)"  # in the place of an interval: all seeds show the same difference, so their spread is not known


def plain(text: object) -> str:
    """Return text on one line, with every character that cannot be printed replaced: names come from users."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def short(text: object, most: int = 26) -> str:
    """Return `plain` text of at most `most` characters, the middle left out: both ends of a spec tell arms apart."""
    shown = plain(text)
    if len(shown) <= most:
        return shown
    tail = (most - 1) // 2
    return f"{shown[: most - 1 - tail]}…{shown[-tail:]}"


def wrapped(text: str, width: float, size: float) -> str:
    """Return text in lines that fit `width` inches at a font size in points, as well as can be known unrendered."""
    most = max(10, int(width * 72 / (size * 0.56)))
    return "\n".join(textwrap.fill(line, most, break_on_hyphens=False) for line in text.splitlines())


def denominator(grid: Iterable[float]) -> int | None:
    """Return 16 or 255 when every eps is a whole number of these, None where short decimals say it as well."""
    values = list(grid)
    if all(_whole(100 * eps) for eps in values):
        return None
    return next((d for d in (16, 255) if all(_whole(d * eps) for eps in values)), None)


def eps_text(eps: float) -> str:
    """Return eps as people say it: `2/16 = 0.125`, `8/255 = 0.0314`, `0.1`."""
    below = denominator([eps])
    return f"{eps:.3g}" if below is None else f"{round(eps * below)}/{below} = {eps:.3g}"


def interval_text(against: Mapping[str, Any]) -> str:
    """Return the interval of a difference in points, `[-1.2, +0.3]`; `SAME` where all seeds show one difference, and
    an empty string where there are no two."""
    if against["low"] is not None:
        return f"[{100 * against['low']:+.1f}, {100 * against['high']:+.1f}]"
    return SAME if (against["n"] or 0) > 1 else ""


def counted(number: int, thing: str) -> str:
    """Return `1 seed`, `3 seeds`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def seeds_text(comparison: Comparison) -> str:
    """Return `3 seeds`, and `2 of 3 seeds` while a study is not finished."""
    seen, planned = len(comparison.seeds), counted(len(comparison.study["seeds"]), "seed")
    return planned if seen == len(comparison.study["seeds"]) else f"{seen} of {planned}"


def preliminary(study: dict[str, Any]) -> bool:
    """Return whether the protocol of a study is one without p-values."""
    from ..study.protocol import PROTOCOLS

    return not PROTOCOLS[study["protocol"]].p_values


def subtitle(comparison: Comparison) -> str:
    """Return one line that says what the numbers of a figure belong to."""
    study = comparison.study
    sure = f"{study['protocol']} protocol"
    parts = [
        f"data {short(study['data'], 40)}",
        f"model {short(study['model'], 40)}",
        seeds_text(comparison),
        f"headline eps {eps_text(study['headline_eps'])} ({plain(study['norm'])}, pixel units)",
        f"{sure}, preliminary" if preliminary(study) else sure,
    ]
    return " · ".join(parts)


def lost(comparison: Comparison, arm: str, condition: str | None = None) -> str:
    """Return `1 of 3 runs diverged`, for the runs of an arm that did not finish; empty where all did."""
    runs = [run for run in comparison.of(arm) if condition is None or run.label_condition == condition]
    said = []
    for status in ("failed", "diverged"):
        number = sum(run.status == status for run in runs)
        if number:
            said.append(f"{number} of {counted(len(runs), 'run')} {status}")
    return ", ".join(said)


def left_out(comparison: Comparison, arms: Iterable[str], why: str) -> str:
    """Return the sentence that names the arms a figure cannot show, or an empty string."""
    said = [f"{short(arm)} ({lost(comparison, arm) or why})" for arm in arms]
    return f"Not shown: {', '.join(said)}." if said else ""


def more(known: Sequence[str], shown: Sequence[str]) -> str:
    """Return the sentence that counts the arms there was no room for, or an empty string."""
    number = len(known) - len(shown)
    return f"{number} more in the table." if number else ""


def joined(*sentences: str) -> str:
    """Return the sentences there are, with spaces between them."""
    return " ".join(filter(None, sentences))


def _whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6
