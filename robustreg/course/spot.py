"""Spot the flaw: a recipe with all that the tutorial did and printed, and nothing said about it."""

from __future__ import annotations

from dataclasses import replace

from .recipe import Recipe
from .result import RecipeResult

NEUTRAL = "as the tutorial did it"


def unsaid(recipe: Recipe, result: RecipeResult) -> tuple[Recipe, RecipeResult]:
    """Return both without a word that judges, or that names what there is to find: titles, notes, flaws, lessons.

    What the runs consist of and what was read from them stays, to find it in.
    """
    several = "s" * (len(recipe.experiments) > 1)
    title = f"{recipe.name}: experiment{several} {', '.join(recipe.experiments)} of the tutorial"
    plain = replace(recipe, title=title, about=f"It printed: {recipe.printed}", lesson="", flaws=())
    form = result.faithful
    if form is not None:
        parts = tuple(replace(part, flags=()) for part in form.parts)
        form = replace(form, says=NEUTRAL, parts=parts, notes=())
    return plain, replace(result, faithful=form, corrected=None)
