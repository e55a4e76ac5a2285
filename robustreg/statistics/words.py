"""The four words of a verdict."""

from __future__ import annotations

from typing import Literal

from .intervals import Interval

ROUNDING = 1e-9  # differences that are further apart than floats explain

Word = Literal["better", "worse", "equivalent", "cannot tell"]


def word(
    difference: Interval,
    *,
    p_adjusted: float | None,
    equivalence_p: float | None,
    margin: float | None,
    higher_is_better: bool = True,
    blocked: bool = False,
) -> Word:
    """Return the one word for an arm against the baseline.

    1. The interval excludes 0, and `p_adjusted` is below 0.05 or None (too few seeds for a test): "better" or "worse".
       Without a test, one difference on all seeds is a coincidence of counting images and no width of 0: no word.
    2. Otherwise, `equivalence_p` is below 0.05: "equivalent".
    3. Otherwise "cannot tell".
    4. `blocked` turns "better" and "equivalent" into "cannot tell": when the attack failed, the accuracy is an upper
       bound, and only "worse" still follows from it.

    Args:
        difference: arm minus baseline; one seed is never enough for a word.
        p_adjusted: the p of the sign-flip test after `holm`.
        equivalence_p: the p of `equivalence_test` with `margin`.
        margin: the largest difference that does not matter; None when none was declared: then never "equivalent".
        higher_is_better: False where less is better, as for the memorized fraction.
        blocked: whether a red trust flag is on the arm.
    """
    if difference.low is None or difference.high is None:
        return "cannot tell"
    seen = p_adjusted < 0.05 if p_adjusted is not None else (difference.sd or 0) > ROUNDING
    if (difference.low > 0 or difference.high < 0) and seen:
        if (difference.low > 0) != higher_is_better:
            return "worse"
        return "cannot tell" if blocked else "better"
    if margin is not None and equivalence_p is not None and equivalence_p < 0.05 and not blocked:
        return "equivalent"
    return "cannot tell"
