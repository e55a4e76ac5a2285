"""Memorization: the same network on true labels, on random ones, and on some that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..result import RecipeResult
from .overlay import Column, overlay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..recipe import Recipe

COLUMNS = (
    Column("train_accuracy", "training accuracy, labels as given (%)", share=True, mark="full"),
    Column("val_accuracy", "validation accuracy, true labels (%)", share=True),
)


def memorization(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw how fast each kind of labels is learned by heart, and what is left of it on the validation images, in %."""
    return overlay(results, recipe, "what is learned by heart", COLUMNS,
                   "Labels without any pattern are learned to the last one; nothing of that carries over.")  # fmt: skip
