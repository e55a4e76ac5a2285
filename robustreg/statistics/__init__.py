"""How sure a comparison can be: intervals, paired tests, corrections and the four words of a verdict.

A seed is one draw of everything, shared by all arms, so arms are compared by their differences seed by seed. All
functions are pure. A missing value has no place in a mean: not-a-number, and anything from 1e100 to infinity, is a
UsageError, and the caller says which runs it leaves out. Nothing returns not-a-number: what one seed cannot tell is
None.

With a standard deviation of 0 (the same difference on every seed) each function returns what it tends to as the
deviation shrinks: the interval is the mean alone, and equivalence has p 0 inside the margin and 1 elsewhere.
"""

from .bootstrap import two_level_bootstrap
from .equivalence import detectable_difference, equivalence_test
from .expected_maximum import expected_maximum
from .holm import holm
from .improvement import MEANINGFUL, Improvement, probability_of_improvement
from .intervals import Difference, Interval, differences, mean_interval, paired_difference, wilson_interval
from .mcnemar import mcnemar
from .pareto import pareto_front
from .sign_flip import sign_flip_test
from .values import Values
from .words import Word, word

_CHUNK = 1 << 22  # random numbers held at once

__all__ = [
    "MEANINGFUL",
    "Difference",
    "Improvement",
    "Interval",
    "Values",
    "Word",
    "detectable_difference",
    "differences",
    "equivalence_test",
    "expected_maximum",
    "holm",
    "mcnemar",
    "mean_interval",
    "paired_difference",
    "pareto_front",
    "probability_of_improvement",
    "sign_flip_test",
    "two_level_bootstrap",
    "wilson_interval",
    "word",
]
