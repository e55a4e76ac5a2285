"""The norm of the weights while they are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..result import RecipeResult
from .overlay import Column, overlay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..recipe import Recipe


def norm_curve(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw the Frobenius norm of all parameters together by epoch, a line a part."""
    columns = [Column("frobenius_norm", "Frobenius norm of all parameters")]
    return overlay(results, recipe, "norm of the weights", columns,
                   "The square root of the sum of the squares of all parameters, biases included.")  # fmt: skip
