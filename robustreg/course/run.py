"""Run recipes: the studies of each form, one after the other, and what there is to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import UsageError, suggest
from ..plugins import Catalogue
from ..study import Progress
from .judge import judged
from .recipe import Recipe, StudyFile
from .regression import run_regression
from .result import CORRECTED, FAITHFUL, FORMS, FormResult, PartResult, RecipeResult
from .studies import run_study, seeds_of

Tell = Callable[[Progress], None]


def run_recipe(
    recipe: Recipe,
    folder: Path,
    catalogue: Catalogue,
    *,
    forms: Sequence[str] = FORMS,
    seeds: int | None = None,
    epochs: int | None = None,
    faces: str | Path | None = None,
    engine: str = "auto",
    on_progress: Tell | None = None,
    say: Callable[[str], None] | None = None,
) -> RecipeResult:
    """Run a recipe in some of its forms and return what came of it.

    Args:
        recipe: of `files.recipe`, or of one's own.
        folder: where finished runs are kept, and found again.
        catalogue: what names mean.
        forms: "faithful", "corrected" or both; one that the recipe does not have is left out.
        seeds: of the corrected form; as many as the recipe says when None. The faithful form has the tutorial's one.
        epochs: the most epochs any run may take, for a trial; None for what the recipe says.
        faces: the folder of the animal faces, "" for those downloaded, None for what stands in for them.
        engine: as `compare` takes it.
        on_progress: as `compare` takes it.
        say: told what a user should know.

    Raises:
        UsageError: for a form that does not exist, or a recipe that cannot be run.
        DataError, StoreError, DiskFullError: as `compare` does.
    """
    for form in forms:
        if form not in FORMS:
            raise UsageError(f"a form is {' or '.join(FORMS)}, got {form!r}.{suggest(form, FORMS)}")
    found: dict[str, FormResult] = {}
    for form in forms:
        if form not in recipe.forms:
            continue
        parts: list[PartResult] = []
        for number, study in enumerate(recipe.forms[form].studies, 1):
            wanted = _shorter(seeds_of(study, seeds), epochs)
            where = folder / recipe.name / f"{form}-{number}"
            if wanted.settings.get("task") == "regression":
                parts += run_regression(wanted, where, catalogue, on_progress=on_progress)
            else:
                parts += run_study(
                    wanted, where, catalogue, faces=faces, engine=engine, on_progress=on_progress, say=say
                )
        found[form] = judged(recipe, form, parts)
    return RecipeResult(recipe.name, found.get(FAITHFUL), found.get(CORRECTED))


def _shorter(study: StudyFile, most: int | None) -> StudyFile:
    if most is None:
        return study
    return StudyFile({**study.settings, "epochs": min(most, study.settings["epochs"])}, study.parts)
