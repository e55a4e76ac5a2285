"""One measure of every arm against the baseline: differences paired by seed, tests, and the word."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .. import statistics
from ..statistics.words import ROUNDING
from .protocol import ENDPOINTS, LEVEL

ROUNDED = 1e-12  # of the values that are subtracted
Pairs = tuple[Sequence[float], Sequence[float]]


def against_baseline(
    measure: str,
    pairs: Mapping[str, Pairs],
    *,
    higher: bool,
    tested: bool,
    step: float,
    blocked: Mapping[str, bool],
) -> dict[str, dict[str, Any]]:
    """Return for each arm the difference to the baseline in one measure, with interval, tests and word.

    Where it is the same on every seed there is no interval, and none that could have been seen: low, high and
    detectable are None, as they are for one seed.

    Args:
        measure: its name.
        pairs: for each arm its values and the baseline's, on the same seeds.
        higher: whether higher is better.
        tested: whether there are p-values; without them a study is preliminary.
        step: the smallest difference the measure can show, one image of those it is counted on: a margin below it
            can be neither kept nor left.
        blocked: for each arm whether a red trust flag is on it.
    """
    deltas = {arm: statistics.differences(*pair) for arm, pair in pairs.items()}
    p = {arm: statistics.sign_flip_test(delta) if tested else None for arm, delta in deltas.items()}
    adjusted = dict(zip(p, statistics.holm(list(p.values())), strict=True))
    found = {}
    for arm, delta in deltas.items():
        difference = statistics.paired_difference(*pairs[arm])
        margin = ENDPOINTS.get(measure)
        # One difference on every seed is a coincidence of counting images where so few seeds can test nothing.
        enough = tested and len(delta) >= seeds_needed(len(deltas))
        sure = margin is not None and step <= margin and len(delta) > 1 and (enough or (difference.sd or 0) > ROUNDING)
        word = statistics.word(
            difference,
            p_adjusted=adjusted[arm],
            equivalence_p=statistics.equivalence_test(delta, margin) if sure and margin else None,
            margin=margin,
            higher_is_better=higher,
            blocked=blocked[arm],
        )
        known = not one_difference(*pairs[arm])
        found[arm] = {
            "difference": difference.mean,
            "low": difference.low if known else None,
            "high": difference.high if known else None,
            "n": difference.n,
            "p": p[arm],
            "p_adjusted": adjusted[arm],
            "detectable": _detectable(difference, len(deltas), tested) if known else None,
            "improves": _improves(*pairs[arm], higher=higher),
            "endpoint": measure in ENDPOINTS,
            # FGSM never judges alone.
            "word": "cannot tell" if measure.startswith("fgsm") else word,
        }
    return found


def one_difference(arm: Sequence[float], baseline: Sequence[float]) -> bool:
    """Return whether several seeds show one and the same difference, but for the rounding of floats.

    Then the spread over seeds is not known: it is no 0, from which an interval without width would follow, and that
    any difference, however small, could have been seen.
    """
    deltas = [one - other for one, other in zip(arm, baseline, strict=True)]
    scale = max(map(abs, (*arm, *baseline)), default=0.0)
    return len(deltas) > 1 and max(deltas) - min(deltas) <= ROUNDED * scale


def seeds_needed(arms: int) -> int:
    """Return how many seeds it takes before the smallest p of `arms` sign-flip tests survives Holm's correction."""
    return math.ceil(math.log2(2 * max(arms, 1) / LEVEL))


def _detectable(difference: statistics.Interval, arms: int, tested: bool) -> float | None:
    if tested and difference.n < seeds_needed(arms):
        return None  # no difference, however large, would be found
    return statistics.detectable_difference(difference.sd, difference.n, alpha=LEVEL / arms if tested else LEVEL)


def _improves(arm: Sequence[float], baseline: Sequence[float], *, higher: bool) -> dict[str, Any]:
    found = statistics.probability_of_improvement(*((arm, baseline) if higher else (baseline, arm)))
    return {"share": found.share, "low": found.low, "high": found.high, "meaningful": found.meaningful}
