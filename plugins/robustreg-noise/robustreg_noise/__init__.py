"""A plugin for robustreg: noise in the structure of a network, and losses that bear wrong labels."""

from robustreg import Regularizer, hookimpl

from .dropconnect import DropConnect
from .focal import FocalLoss, focal
from .gce import GeneralizedCrossEntropy, generalized_cross_entropy
from .r_drop import RDrop, symmetric_divergence
from .stochastic_depth import StochasticDepth, branches
from .weight_noise import WeightNoise

__all__ = [
    "DropConnect",
    "FocalLoss",
    "GeneralizedCrossEntropy",
    "RDrop",
    "StochasticDepth",
    "WeightNoise",
    "branches",
    "focal",
    "generalized_cross_entropy",
    "regularizers",
    "symmetric_divergence",
]


@hookimpl
def regularizers() -> list[type[Regularizer]]:
    """Offer the regularizers to robustreg."""
    return [StochasticDepth, DropConnect, WeightNoise, RDrop, GeneralizedCrossEntropy, FocalLoss]
