"""Learning rates: how far each gets in the same number of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..result import PartResult, RecipeResult
from .frame import finished
from .overlay import Column, overlay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..recipe import Recipe

COLUMNS = (
    Column("train_accuracy", "training accuracy (%)", share=True),
    Column("val_accuracy", "validation accuracy (%)", share=True, mark="highest"),
    Column("frobenius_norm", "Frobenius norm of all parameters"),
)


def learning_rates(results: RecipeResult, recipe: Recipe | None = None) -> Figure:
    """Draw training and validation accuracy in % and the norm of the weights by epoch, one colour a learning rate."""
    note = (
        "A line whose training accuracy still rises was stopped before it was done: it tells how fast the rate is, not"
        " how well it ends. One colour: one rate, over fewer epochs and over more."
    )
    return overlay(results, recipe, "one line a rate", COLUMNS, note, named=rate_of)


def rate_of(part: PartResult) -> str:
    """Return the learning rate that a part began with, as its runs recorded it; its label where they did not."""
    rates = [run.history[0].get("learning_rate") for run in finished(part) if run.history]
    return f"learning rate {rates[0]:g}" if rates and rates[0] is not None else part.label
