"""The course: recipes as data, what is read from runs, what is compared, and every recipe run."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
import torch
from scipy import stats

from robustreg.cli.output import duration
from robustreg.course import files, kept, table
from robustreg.course.judge import CHOSEN, chosen, judged
from robustreg.course.pictures import NAMES
from robustreg.course.readings import higher_is_better, in_words, is_share, read
from robustreg.course.recipe import Form, GoldenValue, Part, Recipe, StudyFile
from robustreg.course.regression import run_regression
from robustreg.course.result import FORMS, Golden, PartResult, Points, Reading, RecipeResult, SeedResult, Snapshot
from robustreg.course.run import run_recipe
from robustreg.errors import UsageError
from robustreg.plugins import Catalogue, discover
from robustreg.recipe import Recipe as Training
from robustreg.spec import parse
from robustreg.study import Progress

FLAWS = range(1, 21)
TUTORIAL = {f"T1-{letter}" for letter in "abcdefg"} | {f"T2-{letter}" for letter in "abcdefghij"}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return discover()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("course")


# Recipes as data.


def test_the_recipes_are_the_files_that_are_there() -> None:
    here = resources.files("robustreg.course").joinpath("recipes")
    assert {f"{name}.toml" for name in files.names()} == {file.name for file in here.iterdir()}


def test_every_experiment_of_the_tutorial_has_a_recipe() -> None:
    assert {which for name in files.names() for which in files.recipe(name).experiments} == TUTORIAL


@pytest.mark.parametrize("name", files.names())
def test_every_recipe_says_what_it_must(name: str) -> None:
    recipe = files.recipe(name)
    assert list(recipe.forms) == list(FORMS)
    assert recipe.title and recipe.about and recipe.printed and recipe.lesson and recipe.pictures
    assert set(recipe.pictures) <= set(NAMES)
    assert all(flaw.number in FLAWS and flaw.says.endswith(".") for flaw in recipe.flaws) and recipe.flaws
    known = set(Training.__dataclass_fields__)
    for form in recipe.forms.values():
        for study in form.studies:
            assert set(study.settings) - known <= files.STUDY | {"data", "model", "epochs"}
            for part in study.parts:
                assert parse(part.spec)
        for shown in (*form.shows, form.select or "epochs"):
            assert in_words(shown)


@pytest.mark.parametrize("name", files.names())
def test_the_faithful_form_has_one_seed_and_the_corrected_ten_on_one_split(name: str) -> None:
    recipe = files.recipe(name)
    assert all(len(study.settings["seeds"]) == 1 for study in recipe.forms["faithful"].studies)
    corrected = recipe.forms["corrected"]
    assert {study.settings["seeds"] for study in corrected.studies} == {10}
    if corrected.baseline:
        assert len({study.settings["data"] for study in corrected.studies}) == 1
    assert not any(shown.startswith("max:") for shown in corrected.shows[:1])


def test_all_flaws_of_the_tutorial_are_named_somewhere() -> None:
    named = {flaw.number for name in files.names() for flaw in files.recipe(name).flaws}
    assert named >= set(FLAWS) - {6, 13} and 6 not in named  # splits by execution order cannot be run


GOOD = """
title = "t"
experiments = ["T1-a"]
about = "a"
printed = "p"
lesson = "l"
[faithful]
says = "s"
shows = ["clean_accuracy"]
[[faithful.studies]]
data = "digits"
model = "mlp"
epochs = 1
learning-rate = 0.1
parts = [{ label = "one" }, { label = "two", spec = "l1:1e-3", label-noise = 0.4 }]
"""


def test_a_file_becomes_a_recipe() -> None:
    form = files.parsed("mine", GOOD).forms["faithful"]
    assert form.parts == (Part("one"), Part("two", "l1:1e-3", 0.4))
    assert form.studies[0].settings == {"data": "digits", "model": "mlp", "epochs": 1, "learning_rate": 0.1}
    assert form.studies[0].specs == ["none", "l1:1e-3"] and form.studies[0].label_noise == [0.0, 0.4]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("learning-rate", "learning-rat", "no setting is called 'learning_rat'.*did you mean"),
        ('title = "t"', "", "title is missing"),
        ('label = "two"', 'label = "one"', "the same label"),
        ("l1:1e-3", "l1:", "l1"),
        ('says = "s"', 'says = "s"\nbaseline = "three"', "no part has the label 'three'; there are one, two"),
        ('says = "s"', "says = ", "mine"),
        ("faithful", "faithfull", "no setting is called 'faithfull'"),
    ],
)
def test_what_is_wrong_with_a_file_is_a_usage_error(before: str, after: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"(?is){says}"):
        files.parsed("mine", GOOD.replace(before, after))


def test_an_unknown_recipe_is_a_usage_error_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"no recipe is called 'penaltys'.*penalties"):
        files.recipe("penaltys")


# What is read from runs.

HISTORY = tuple(
    {"epoch": epoch, "val_accuracy": value, "train_accuracy": fitted, "val_error": 1 - value}
    for epoch, (value, fitted) in enumerate([(0.2, 0.5), (0.6, 1.0), (0.6, 0.9), (0.4, 1.0)])
)
RUN = SeedResult(0, history=HISTORY, initial_norms={"a": 3.0, "b": 4.0}, final_norms={"a": 6.0, "b": 8.0},
                 numbers={"clean_accuracy": 0.7, "fgsm_curve": {"0.1": 0.5}})  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max:val_accuracy", 0.6), ("at_max:val_accuracy", 2), ("min:val_error", 0.4), ("at_min:val_error", 2),
        ("first:val_accuracy", 0.2), ("last:val_accuracy", 0.4), ("until:train_accuracy", 2), ("epochs", 4),
        ("initial_norm", 5.0), ("final_norm", 10.0), ("clean_accuracy", 0.7),
        ("until:val_accuracy", None), ("fgsm_curve", None), ("max:nothing", None), ("robust_accuracy", None),
    ],
)  # fmt: skip
def test_a_reading_is_the_number_its_name_says(name: str, value: float | None) -> None:
    assert read(name, RUN) == (value if value is None else pytest.approx(value))


def test_an_unknown_reading_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no reading is called 'best:val_accuracy'"):
        read("best:val_accuracy", RUN)


def test_readings_know_their_unit_and_their_better_side() -> None:
    assert [is_share(name) for name in ("max:val_accuracy", "clean_accuracy", "at_max:val_accuracy", "final_norm")] == [
        True, True, False, False,
    ]  # fmt: skip
    names = ("clean_accuracy", "test_error", "min:val_error", "until:train_accuracy", "final_norm", "epochs")
    assert [higher_is_better(name) for name in names] == [True, False, False, None, None, None]


# What is compared.


def part(label: str, values: list[float], split: str = "a", flags: tuple[str, ...] = ()) -> PartResult:
    runs = tuple(SeedResult(seed, numbers={"clean_accuracy": value}) for seed, value in enumerate(values))
    hashes = {seed: f"{split}{seed}" for seed in range(len(values))}
    return PartResult(label, "none", "true", "d", "m", 1, 10, 10, 1000, 5, {}, hashes, runs, flags=flags)


def rules(**changes: object) -> Recipe:
    study = StudyFile({"epochs": 1}, (Part("base"), Part("other")))
    form = replace(Form("s", ("clean_accuracy",), (study,), "base"), **changes)  # type: ignore[arg-type]
    return Recipe("r", (), "t", "a", "p", "l", forms={"corrected": form})


BASE = [0.5, 0.52, 0.47, 0.55, 0.5, 0.49, 0.51, 0.53, 0.48, 0.5]
OTHER = [value + 0.1 + 0.01 * (seed % 3) for seed, value in enumerate(BASE)]


def test_parts_are_compared_with_the_baseline_seed_by_seed() -> None:
    found = judged(rules(), "corrected", [part("base", BASE), part("other", OTHER)])
    reading = found.parts[1].readings[0]
    deltas = [mine - base for mine, base in zip(OTHER, BASE, strict=True)]
    low, high = stats.t.interval(0.95, 9, sum(deltas) / 10, stats.sem(deltas))
    assert reading.difference == pytest.approx(sum(deltas) / 10)
    assert (reading.difference_low, reading.difference_high) == (pytest.approx(low), pytest.approx(high))
    assert reading.word == "better" and reading.p_adjusted == pytest.approx(2 / 2**10)
    assert found.parts[0].readings[0].difference is None and not found.notes


def test_parts_that_saw_other_images_are_not_compared() -> None:
    found = judged(rules(), "corrected", [part("base", BASE), part("other", OTHER, split="b")])
    assert found.parts[1].readings[0].difference is None
    assert found.notes == ("other saw other images than base: the two cannot be compared.",)


def test_one_seed_has_no_interval_and_no_verdict() -> None:
    reading = judged(rules(), "corrected", [part("base", [0.5]), part("other", [0.9])]).parts[1].readings[0]
    assert (reading.low, reading.difference_low, reading.word) == (None, None, "cannot tell")


def test_a_lower_error_is_better() -> None:
    def errors(label: str, values: list[float]) -> PartResult:
        made = part(label, values)
        runs = (replace(run, numbers={"test_error": run.numbers["clean_accuracy"]}) for run in made.runs)
        return replace(made, runs=tuple(runs))

    found = judged(rules(shows=("test_error",)), "corrected", [errors("base", OTHER), errors("other", BASE)])
    assert found.parts[1].readings[0].word == "better"


def test_a_red_flag_blocks_the_word_better_of_an_attack_and_is_a_note() -> None:
    def attacked(label: str, values: list[float], flags: tuple[str, ...] = ()) -> PartResult:
        made = part(label, values, flags=flags)
        runs = (replace(run, numbers={"robust_accuracy": run.numbers["clean_accuracy"]}) for run in made.runs)
        return replace(made, runs=tuple(runs))

    parts = [attacked("base", BASE), attacked("other", OTHER, ("the attack failed",))]
    found = judged(rules(shows=("robust_accuracy",)), "corrected", parts)
    assert found.parts[1].readings[0].word == "cannot tell" and found.notes == ("other: the attack failed",)


def test_an_attack_that_a_defence_may_blind_is_shown_and_gives_no_word() -> None:
    def attacked(label: str, values: list[float]) -> PartResult:
        made = part(label, values)
        runs = (replace(run, numbers={"pgd_behind_accuracy": run.numbers["clean_accuracy"]}) for run in made.runs)
        return replace(made, runs=tuple(runs))

    form = rules(shows=("pgd_behind_accuracy",))
    reading = judged(form, "corrected", [attacked("base", BASE), attacked("other", OTHER)]).parts[1].readings[0]
    assert reading.difference is not None and reading.word == ""


def test_the_best_is_chosen_on_every_seed_by_one_number_and_judged_by_another() -> None:
    def two(label: str, val: list[float], test: list[float]) -> PartResult:
        made = part(label, test)
        runs = (replace(run, history=({"val_accuracy": value},)) for run, value in zip(made.runs, val, strict=True))
        return replace(made, runs=tuple(runs))

    parts = [two("base", [0.6, 0.5, 0.4], [0.1, 0.2, 0.3]), two("other", [0.5, 0.5, 0.9], [0.4, 0.5, 0.6])]
    best = chosen(parts, "last:val_accuracy", "base")
    assert [run.numbers["clean_accuracy"] for run in best.runs] == [0.1, 0.2, 0.6] and best.label == CHOSEN
    found = judged(rules(select="last:val_accuracy", baseline=""), "corrected", parts)
    assert [one.label for one in found.parts] == ["base", "other", CHOSEN]


def test_lost_runs_are_told_and_left_out() -> None:
    lost = part("other", OTHER)
    lost = replace(lost, runs=(replace(lost.runs[0], status="diverged", reason="the loss was nan"), *lost.runs[1:]))
    found = judged(rules(), "corrected", [part("base", BASE), lost])
    assert found.parts[1].readings[0].n == 9
    assert found.notes == ("other: 1 of 10 runs diverged: the loss was nan",)


def test_a_golden_value_is_reached_within_its_tolerance_or_not() -> None:
    golden = (GoldenValue("g", "base", "clean_accuracy", 0.51, 0.05), GoldenValue("h", "base", "max:loss", 1.0, 1.0))
    first, second = judged(rules(golden=golden), "corrected", [part("base", BASE), part("other", BASE)]).golden
    assert first.found == 0.5 and first.reached and not replace(first, found=0.48).reached
    assert math.isnan(second.found) and not second.reached
    assert not Golden("g", 1.0, 1.06, 0.05).reached


# What is kept.


def test_parts_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    made = replace(
        part("base", BASE, flags=("a",)),
        runs=(replace(RUN, snapshots=(Snapshot(0, (1.0, 2.0)),), examples={"label": [1]}),),
        points=Points((0.0,), (1.0,), (0.5,), (1.5,)),
    )
    kept.put(tmp_path / "a" / "study.json", "key", [made])
    assert kept.get(tmp_path / "a" / "study.json", "key") == [made]
    assert kept.get(tmp_path / "a" / "study.json", "other key") is None
    (tmp_path / "a" / "study.json").write_text("{")
    assert kept.get(tmp_path / "a" / "study.json", "key") is None


# Every recipe, run.


@pytest.mark.slow
@pytest.mark.parametrize("name", files.names())
def test_every_recipe_runs_in_both_forms_on_a_small_budget(name: str, folder: Path, catalogue: Catalogue) -> None:
    recipe = files.recipe(name)
    result = run_recipe(recipe, folder, catalogue, seeds=2, epochs=1, engine="serial")
    for form, found in zip(FORMS, result.forms, strict=True):
        wanted = [part.label for part in recipe.forms[form].parts] + [CHOSEN] * bool(recipe.forms[form].select)
        assert [part.label for part in found.parts] == wanted and found.form == form
        for part in found.parts:
            assert [run.status for run in part.runs] == ["ok"] * (1 if form == "faithful" else 2)
            assert part.readings and all(math.isfinite(reading.mean) for reading in part.readings)
            assert part.first.initial_norms and part.first.final_norms
    corrected, base = result.corrected, recipe.forms["corrected"].baseline
    assert corrected is not None and corrected.baseline == base
    for part in corrected.parts:
        assert (part.readings[0].difference is not None) == (base not in ("", part.label))
    json.dumps(result.to_dict())
    again = run_recipe(recipe, folder, catalogue, seeds=2, epochs=1, engine="serial", on_progress=_nothing_to_do)
    assert again == result
    assert not list((folder / name).rglob("*.safetensors"))


def _nothing_to_do(progress: object) -> None:
    raise AssertionError("what is kept was trained again")


def test_the_golden_values_of_the_first_exercises_are_reached(folder: Path, catalogue: Catalogue) -> None:
    form = run_recipe(files.recipe("norms"), folder, catalogue, forms=["faithful"]).faithful
    assert form is not None and all(golden.reached for golden in form.golden)
    found = {golden.what: golden.found for golden in form.golden}
    assert found["Frobenius norm of Linear(10, 1)"] == pytest.approx(0.6572162508964539, rel=1e-6)
    assert found["Frobenius norm of AnimalNet"] == pytest.approx(7.3810, abs=5e-5)
    assert found["L1 of Linear(20, 20)"] == 48.445133209228516
    assert found["L2 of Linear(20, 20)"] == 7.328375816345215


def test_faithful_penalties_learn_from_other_images_and_start_from_the_tutorials_weights(
    folder: Path, catalogue: Catalogue
) -> None:
    form = run_recipe(files.recipe("penalties"), folder, catalogue, forms=["faithful"], epochs=1).faithful
    assert form is not None and [part.train_images for part in form.parts] == [30, 30, 100, 100]
    assert form.parts[0].split == form.parts[1].split != form.parts[2].split
    assert len(form.notes) == 2 and all("cannot be compared" in note for note in form.notes)
    assert form.golden[0].reached and form.parts[0].settings["shuffle"] is False


@pytest.mark.slow
def test_the_best_validation_accuracy_is_more_than_five_points_too_kind(folder: Path, catalogue: Catalogue) -> None:
    form = run_recipe(files.recipe("penalties"), folder, catalogue, forms=["corrected"], seeds=4).corrected
    assert form is not None
    base = {reading.name: reading.mean for reading in form.parts[0].readings}
    assert base["max:val_accuracy"] - base["clean_accuracy"] > 0.05


def test_the_regression_starts_from_the_tutorials_two_weights_and_keeps_its_function(
    folder: Path, catalogue: Catalogue
) -> None:
    recipe = files.recipe("regression")
    result = run_recipe(recipe, folder, catalogue, forms=["faithful"], epochs=1)
    assert result.faithful is not None
    starts = [golden for golden in result.faithful.golden if "start" in golden.what]
    assert len(starts) == 2 and all(golden.reached for golden in starts)
    part = result.faithful.parts[0]
    assert part.points is not None and len(part.points.x) == 10 and len(part.points.grid) == 40
    first = part.first.snapshots[0]
    from robustreg.course.toy import after_the_data

    with torch.no_grad():
        outputs = after_the_data((1,), 1)(torch.tensor(part.points.grid).unsqueeze(1)).flatten()
    assert first.epoch == 0 and torch.allclose(torch.tensor(first.outputs), outputs, atol=1e-6)


def test_an_unknown_form_is_a_usage_error(folder: Path, catalogue: Catalogue) -> None:
    with pytest.raises(UsageError, match="a form is faithful or corrected, got 'faithfull'"):
        run_recipe(files.recipe("norms"), folder, catalogue, forms=["faithfull"])


# What is shown.


def test_the_table_shows_what_was_printed_both_forms_and_the_flaws() -> None:
    recipe = rules()
    recipe = replace(recipe, name="mine", printed="51.0", flaws=(files.Flaw(5, "One seed."),))
    result = RecipeResult("mine", corrected=judged(rules(), "corrected", [part("base", BASE), part("other", OTHER)]))
    text = table.overview_text([(recipe, result)])
    lines = " ".join(text.split())
    for said in ("mine", "51.0", "5. One seed.", "test accuracy", "base 50.5 %", "better"):
        assert said in lines, said
    row = table.rows([(recipe, result)])[0]
    assert row["faithful"] is None and row["corrected"][1]["difference"] == pytest.approx(0.109)
    assert row["corrected"][1]["word"] == "better" and row["flaws"] == [{"number": 5, "says": "One seed."}]


def test_golden_values_are_marked() -> None:
    golden = (
        GoldenValue("one", "base", "clean_accuracy", 0.5, 0.01),
        GoldenValue("two", "base", "clean_accuracy", 9, 0.01),
    )
    found = judged(rules(golden=golden), "corrected", [part("base", BASE), part("other", BASE)])
    first, second = table.golden_lines([RecipeResult("mine", corrected=found)])
    assert first.startswith("reached: one: 0.5, published 0.5") and second.startswith("NOT reached: two")


def test_recipes_are_toml_that_every_reader_takes() -> None:
    for name in files.names():
        text = resources.files("robustreg.course").joinpath("recipes", f"{name}.toml").read_text()
        assert tomllib.loads(text)["experiments"]


def test_epochs_are_shown_as_whole_numbers() -> None:
    assert table.number_text("epochs", 10000.0) == "10000"
    assert table.number_text("at_min:val_error", 9123.4) == "9123"
    assert table.number_text("until:train_accuracy", 12.5) == "12"
    assert table.number_text("final_norm", 32.8042) == "32.8" and table.number_text("clean_accuracy", 0.5) == "50.0 %"
    counted = Reading("at_min:val_error", 9123.4, 8000.2, 10246.6, 3, {}, 11.5, -1100.4, 1123.4)
    found = judged(rules(), "corrected", [part("base", BASE), part("other", BASE)])
    base = replace(found.parts[0], readings=(counted,))
    shown = " ".join(table.overview_text([(rules(), RecipeResult("m", replace(found, parts=(base,))))]).split())
    assert "9123 [8000, 10247]; +12 [-1100, +1123]" in shown


@pytest.mark.parametrize("snapshots", [0, 1])
def test_a_regression_tells_how_far_it_is(
    snapshots: int, tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustreg.course.regression.cores", lambda: 1)  # processes of their own tell at their end
    settings = {"task": "regression", "data": "robustreg.course.toy:line", "model": "toy", "epochs": 4, "seeds": 2}
    seen: list[Progress] = []
    study = StudyFile({**settings, "batch_size": 5, "snapshots": snapshots}, (Part("a"), Part("b")))
    run_regression(study, tmp_path / "it", catalogue, on_progress=seen.append)
    shares = [one.done + one.part for one in seen]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 2 and len(set(shares)) > 5
    assert seen[0].running == "a · 2 seeds · 4 epochs each" and seen[0].seconds_left is None
    assert seen[-1].seconds_left == 0 and all(one.total == 2 for one in seen)


def test_the_page_and_the_recipes_agree_on_how_long_they_take() -> None:
    text = (Path(__file__).parents[1] / "docs" / "course.md").read_text()
    for name in files.names():
        seconds = files.recipe(name).seconds
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert row.endswith(f"| {duration(seconds)} |") and seconds > 0
    assert f"all together {duration(sum(files.recipe(name).seconds for name in files.names()))[0]} minutes" in text
