"""What came of a recipe: plain values, for tables, pictures and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FAITHFUL, CORRECTED = "faithful", "corrected"
FORMS = (FAITHFUL, CORRECTED)

Row = Mapping[str, float]
Number = float | Mapping[str, float]


@dataclass(frozen=True)
class Snapshot:
    """The function a regression network computed after an epoch: its outputs on the grid of the part's `points`."""

    epoch: int
    outputs: tuple[float, ...]


@dataclass(frozen=True)
class Points:
    """The data of a regression with one input: what was learned from, and the grid with the true function on it."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    grid: tuple[float, ...]
    truth: tuple[float, ...]


@dataclass(frozen=True)
class SeedResult:
    """One training of a part.

    Attributes:
        seed: of the run.
        status: "ok", "diverged" or "failed", with a `reason`.
        history: a row an epoch, as `Run.history`: `epoch`, `train_loss`, `train_accuracy`, `val_accuracy`, `val_nll`,
            `learning_rate`, `frobenius_norm`, and the terms of the loss by name; in regression `train_error` and
            `val_error` in place of accuracy and nll.
        initial_norms: Frobenius norm of each parameter before training, by its name.
        final_norms: the same after it.
        numbers: what was measured, by name: numbers, or numbers by key for a curve (`fgsm_curve`, `attack_curve`).
        examples: of the first seed, where a part was attacked: `clean` and `adversarial` images (n, C, H, W) as nested
            lists, `label`, `predicted_clean` and `predicted`; else empty.
        snapshots: of a regression, the function every now and then.
    """

    seed: int
    status: str = "ok"
    reason: str = ""
    history: tuple[Row, ...] = field(default=(), repr=False)
    initial_norms: Mapping[str, float] = field(default_factory=dict, repr=False)
    final_norms: Mapping[str, float] = field(default_factory=dict, repr=False)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    examples: Mapping[str, Any] = field(default_factory=dict, repr=False)
    snapshots: tuple[Snapshot, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Reading:
    """The number a form looks at, of one part: the mean over seeds with its t interval (None for one seed).

    `difference` to the form's baseline part, with its interval and `word`, is there where both saw the same splits.
    """

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    n: int = 1
    values: Mapping[int, float] = field(default_factory=dict)
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_adjusted: float | None = None
    word: str = ""


@dataclass(frozen=True)
class PartResult:
    """One line of a form: an arm under a label condition, on its data, over the form's seeds.

    Attributes:
        label: what a reader calls it.
        spec: the regularizers; `none` for none.
        labels: "true", or what the training labels were, as "random:1.0".
        data: the data set as typed.
        model: the network as typed.
        parameters: of the network.
        train_images: how many were learned from.
        val_images: how many were looked at after each epoch.
        test_images: how many were kept for the end.
        steps: updates of the weights in a whole training.
        settings: of the training, as `Recipe` has them.
        split: by seed, the hash of the splits it saw: parts compare only where it is equal.
        runs: one a seed.
        readings: the numbers the form looks at, its main one first.
        points: of a regression with one input.
        flags: what red trust flags say of its numbers.
    """

    label: str
    spec: str
    labels: str
    data: str
    model: str
    parameters: int
    train_images: int
    val_images: int
    test_images: int
    steps: int
    settings: Mapping[str, Any]
    split: Mapping[int, str] = field(repr=False)
    runs: tuple[SeedResult, ...] = field(repr=False)
    readings: tuple[Reading, ...] = ()
    points: Points | None = field(default=None, repr=False)
    flags: tuple[str, ...] = ()

    @property
    def first(self) -> SeedResult:
        """The run of the first seed that finished, for pictures of one run."""
        return next((run for run in self.runs if run.status == "ok"), self.runs[0])


@dataclass(frozen=True)
class Golden:
    """A published number that this machine has to reach, and what it found."""

    what: str
    expected: float
    found: float
    tolerance: float
    source: str = ""

    @property
    def reached(self) -> bool:
        """Whether the number found is the published one, within the relative tolerance."""
        return math.isclose(self.found, self.expected, rel_tol=self.tolerance)


@dataclass(frozen=True)
class FormResult:
    """One form of a recipe, run: its parts in order, and the golden values among its numbers.

    Attributes:
        form: "faithful" or "corrected".
        says: one sentence on how it was done.
        parts: at least one.
        baseline: label of the part the others are compared with; empty where nothing is compared.
        golden: published numbers, reached or not.
        notes: what a reader should know: parts that cannot be compared, runs that were lost.
    """

    form: str
    says: str
    parts: tuple[PartResult, ...]
    baseline: str = ""
    golden: tuple[Golden, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecipeResult:
    """A recipe that was run, in one form or both."""

    name: str
    faithful: FormResult | None = None
    corrected: FormResult | None = None

    @property
    def forms(self) -> tuple[FormResult, ...]:
        """The forms that were run."""
        return tuple(form for form in (self.faithful, self.corrected) if form is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, with `reached` for each golden value; no histories and no images."""
        found = asdict(self)
        for form, plain in zip((self.faithful, self.corrected), (found["faithful"], found["corrected"]), strict=True):
            if form is None:
                continue
            for golden, row in zip(form.golden, plain["golden"], strict=True):
                row["reached"] = golden.reached
            for part in plain["parts"]:
                for run in part["runs"]:
                    for key in ("history", "examples", "snapshots", "initial_norms", "final_norms"):
                        del run[key]
        return found
