"""Recipes as TOML files: read, and checked before anything is run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from ..errors import UsageError, suggest
from ..spec import parse
from .recipe import Flaw, Form, GoldenValue, Part, Recipe, StudyFile
from .result import FORMS

Names = tuple[str, ...]

FOLDER = "recipes"
ORDER = (
    "norms", "regression", "memorization", "early_stopping", "penalties", "dropout", "augmentation", "learning_rate",
    "tuning", "adversarial_training", "distillation", "feature_squeezing",
)  # fmt: skip
STUDY = {
    "seeds", "batch_size", "optimizer", "learning_rate", "momentum", "weight_decay",
    "shuffle", "label_mode", "eps", "headline_eps", "norm", "protocol", "measures", "task", "snapshots", "attacks",
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the names of all recipes, in the order of the tutorial."""
    return ORDER


@cache
def recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        UsageError: for an unknown name, or a file that says something unknown.
    """
    if name not in ORDER:
        raise UsageError(f"no recipe is called {name!r}; there are {', '.join(ORDER)}.{suggest(name, ORDER)}")
    file = resources.files(__package__).joinpath(FOLDER, f"{name}.toml")
    return parsed(name, file.read_text(encoding="utf-8"))


def parsed(name: str, text: str) -> Recipe:
    """Return the recipe that a TOML file holds; a UsageError that names the file and the key for what is wrong."""
    where = f"recipe {name}"
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: {error}") from error
    values = _known(values, where, needed=("title", "experiments", "about", "printed", "lesson"),
                    allowed=("seconds", "flaws", "pictures", *FORMS))  # fmt: skip
    forms = {form: _form(values[form], f"{where}, {form}") for form in FORMS if form in values}
    if not forms:
        raise UsageError(f"{where}: expected a table {' or '.join(FORMS)}")
    flaws = [_known(flaw, f"{where}, flaws", needed=("number", "says")) for flaw in values.get("flaws", [])]
    return Recipe(
        name,
        tuple(values["experiments"]),
        values["title"],
        _line(values["about"]),
        _line(values["printed"]),
        _line(values["lesson"]),
        tuple(Flaw(**flaw) for flaw in flaws),
        tuple(values.get("pictures", ())),
        forms,
        float(values.get("seconds", 0)),
    )


def _form(values: Mapping[str, Any], where: str) -> Form:
    values = _known(values, where, needed=("says", "shows", "studies"), allowed=("baseline", "select", "golden"))
    form = Form(
        _line(values["says"]),
        tuple(values["shows"]),
        tuple(_study(study, where) for study in values["studies"]),
        values.get("baseline", ""),
        values.get("select", ""),
        tuple(GoldenValue(**_golden(golden, where)) for golden in values.get("golden", ())),
    )
    labels = [part.label for part in form.parts]
    if len(set(labels)) != len(labels):
        raise UsageError(f"{where}: two parts have the same label; each needs its own: {', '.join(labels)}")
    for label in (form.baseline, *(golden.part for golden in form.golden)):
        if label and label not in labels:
            raise UsageError(f"{where}: no part has the label {label!r}; there are {', '.join(labels)}")
    return form


def _study(values: Mapping[str, Any], where: str) -> StudyFile:
    values = {key.replace("-", "_"): value for key, value in values.items()}
    settings = _known(values, f"{where}, studies", needed=("data", "model", "epochs", "parts"), allowed=tuple(STUDY))
    parts = []
    for part in settings.pop("parts"):
        part = {key.replace("-", "_"): value for key, value in part.items()}
        found = Part(**_known(part, f"{where}, parts", needed=("label",), allowed=("spec", "label_noise")))
        parse(found.spec)
        parts.append(found)
    return StudyFile(settings, tuple(parts))


def _golden(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    needed = ("what", "part", "reading", "value", "tolerance")
    return _known(values, f"{where}, golden", needed=needed, allowed=("source",))


def _known(
    values: Mapping[str, Any], where: str, *, needed: tuple[str, ...] = (), allowed: tuple[str, ...] = ()
) -> Any:
    """Return the values as a dict; a UsageError for one that is missing or that nothing would look at."""
    for key in needed:
        if key not in values:
            raise UsageError(f"{where}: {key} is missing")
    known = (*needed, *allowed)
    for key in values:
        if key not in known:
            raise UsageError(
                f"{where}: no setting is called {key!r}; there are {', '.join(known)}.{suggest(key, known)}"
            )
    return dict(values)


def _line(text: str) -> str:
    return " ".join(text.split())
