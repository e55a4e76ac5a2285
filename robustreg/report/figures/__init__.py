"""The figures of a report, one a file; each is a function from a comparison to a figure, and never fails for a value
that is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .clean_robust import clean_robust
from .corruption_curve import corruption_curve
from .differences import differences
from .examples import examples
from .memorization import memorization
from .memorization_robustness import memorization_robustness
from .robust_curve import robust_curve
from .training_curves import training_curves
from .weight_norms import weight_norms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...study import Comparison

FIGURES: dict[str, Callable[[Comparison], Figure]] = {
    figure.__name__: figure
    for figure in (
        robust_curve,
        differences,
        clean_robust,
        memorization,
        memorization_robustness,
        corruption_curve,
        training_curves,
        weight_norms,
        examples,
    )
}
