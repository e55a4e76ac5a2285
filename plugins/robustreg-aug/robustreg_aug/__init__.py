"""A plugin for robustreg: augmentations that mix images, activations, and chains of transformations."""

from robustreg import Regularizer, hookimpl

from .augmix import AugMix, disagreement, views
from .manifold_mixup import ManifoldMixup, places
from .random_erasing import RandomErasing, rectangles

__all__ = [
    "AugMix",
    "ManifoldMixup",
    "RandomErasing",
    "disagreement",
    "places",
    "rectangles",
    "regularizers",
    "views",
]


@hookimpl
def regularizers() -> list[type[Regularizer]]:
    """Offer the regularizers to robustreg."""
    return [AugMix, ManifoldMixup, RandomErasing]
