"""A recipe: one experiment of the tutorial in both forms, as it stands in its TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .result import FAITHFUL


@dataclass(frozen=True)
class Part:
    """One line of a form: what a reader calls it, and which runs of its study it is.

    Attributes:
        label: unique in its form.
        spec: the regularizers.
        label_noise: the share of training labels drawn anew.
    """

    label: str
    spec: str = "none"
    label_noise: float = 0.0


@dataclass(frozen=True)
class StudyFile:
    """What a user could write in a study file, and the parts that are looked at.

    Attributes:
        settings: the options of `compare` by their Python names; with `task = "regression"` those of `train_many`.
        parts: at least one.
    """

    settings: Mapping[str, Any]
    parts: tuple[Part, ...]

    @property
    def specs(self) -> list[str]:
        """The specs of its parts, each once, in order."""
        return list(dict.fromkeys(part.spec for part in self.parts))

    @property
    def label_noise(self) -> list[float]:
        """The shares of wrong labels of its parts, each once, in order."""
        return list(dict.fromkeys(part.label_noise for part in self.parts))


@dataclass(frozen=True)
class GoldenValue:
    """A published number and where it is read: a reading of the run of a part (see `readings`)."""

    what: str
    part: str
    reading: str
    value: float
    tolerance: float
    source: str = ""


@dataclass(frozen=True)
class Form:
    """How a recipe is run: studies, what is read from them, and what is compared.

    Attributes:
        says: one sentence.
        shows: the readings of every part (see `readings`), the main one first.
        studies: at least one.
        baseline: the part that the others are compared with; empty for no comparison.
        select: the reading by which one part is chosen, seed by seed, as a further part; empty for none.
        golden: published numbers.
    """

    says: str
    shows: tuple[str, ...]
    studies: tuple[StudyFile, ...]
    baseline: str = ""
    select: str = ""
    golden: tuple[GoldenValue, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, in order."""
        return tuple(part for study in self.studies for part in study.parts)


@dataclass(frozen=True)
class Flaw:
    """Something the tutorial does that spoils its conclusion, and that the corrected form does not do.

    Attributes:
        number: as in docs/course.md.
        says: one sentence.
    """

    number: int
    says: str


@dataclass(frozen=True)
class Recipe:
    """An experiment of the tutorial.

    Attributes:
        name: what a user types.
        experiments: the numbers of the tutorial's experiments, as in docs/course.md.
        title: a line.
        about: a paragraph: what is tried, and what there is to see.
        printed: what the tutorial printed.
        lesson: what the two forms together say.
        flaws: what the corrected form removes.
        pictures: the names of its pictures.
        forms: "faithful" and "corrected", where there is something to run.
        seconds: about how long both forms take, measured on two cores; 0 where nobody has.
    """

    name: str
    experiments: tuple[str, ...]
    title: str
    about: str
    printed: str
    lesson: str
    flaws: tuple[Flaw, ...] = ()
    pictures: tuple[str, ...] = ()
    forms: Mapping[str, Form] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def faithful(self) -> Form | None:
        """The form with the tutorial's own mistakes."""
        return self.forms.get(FAITHFUL)
