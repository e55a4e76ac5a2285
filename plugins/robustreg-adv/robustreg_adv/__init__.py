"""A plugin for robustreg: adversarial training, and what stands beside it."""

from robustreg import Regularizer, hookimpl

from .awp import AWP, worst_weights
from .free import FreeTraining
from .gradalign import GradAlign, misalignment
from .mart import MART, boosted_margin, weighted_divergence
from .n_fgsm import NFGSM
from .vat import VAT, sharpest

__all__ = [
    "AWP",
    "MART",
    "NFGSM",
    "VAT",
    "FreeTraining",
    "GradAlign",
    "boosted_margin",
    "misalignment",
    "regularizers",
    "sharpest",
    "weighted_divergence",
    "worst_weights",
]


@hookimpl
def regularizers() -> list[type[Regularizer]]:
    """Offer the regularizers to robustreg."""
    return [AWP, GradAlign, MART, FreeTraining, NFGSM, VAT]
