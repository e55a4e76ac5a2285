"""All parts of a recipe laid over each other: training and validation accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..result import RecipeResult
from .overlay import Column, overlay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..recipe import Recipe

COLUMNS = (
    Column("train_accuracy", "training accuracy (%)", share=True),
    Column("val_accuracy", "validation accuracy (%)", share=True, mark="highest"),
)


def validation_overlay(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw training and validation accuracy in % by epoch, a line a part."""
    return overlay(results, recipe, "all in one", COLUMNS)
