"""A plugin for robustreg: regularizers that bound how much a network stretches its inputs."""

from robustreg import Regularizer, hookimpl

from .lipschitz import Lipschitz
from .orthogonal import Orthogonal, orthogonality_gap
from .srip import SRIP, isometry_gap

__all__ = ["SRIP", "Lipschitz", "Orthogonal", "isometry_gap", "orthogonality_gap", "regularizers"]


@hookimpl
def regularizers() -> list[type[Regularizer]]:
    """Offer the regularizers to robustreg."""
    return [Orthogonal, SRIP, Lipschitz]
