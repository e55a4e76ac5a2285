"""`robustreg course`: the list, the table it ends with, JSON, spotting the flaw, and errors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from robustreg.cli.main import run
from robustreg.course import files
from robustreg.course.result import FormResult, PartResult, RecipeResult, SeedResult
from robustreg.course.spot import unsaid


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("course")


def course(folder: Path, *arguments: str) -> list[str]:
    return ["course", *arguments, "--engine", "serial", "--epochs", "1", "--seeds", "2", "--out", str(folder)]


def test_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["course", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in files.names())


def test_list_as_json_prints_objects_with_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["course", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(files.names())
    assert all(row["title"] and row["forms"] == ["faithful", "corrected"] and row["flaws"] for row in rows)


def test_a_recipe_ends_with_the_table_its_golden_values_and_the_paths(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(course(folder, "norms", "--no-figures")) == 0
    captured = capsys.readouterr()
    words = " ".join(captured.out.split())
    for said in (
        "the tutorial",
        "faithful",
        "corrected",
        "7.3810",
        "AnimalNet 7.381",
        "Flaw 10:",
        "Lesson:",
    ):
        assert said in words, said
    assert words.count("reached: ") == 4 and "NOT reached" not in words
    assert str(folder / "course.json") in captured.out.splitlines()
    assert "stand in" in captured.err
    table = (folder / "course.txt").read_text()
    assert "reached: Frobenius norm of AnimalNet" in table


def test_json_is_one_document_with_the_table_and_everything_behind_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(course(folder, "norms", "penalties", "--no-figures", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["table"]] == ["norms", "penalties"]
    assert all(row["printed"] and row["faithful"] and row["corrected"] and row["flaws"] for row in found["table"])
    golden = found["recipes"][0]["faithful"]["golden"]
    assert [row["reached"] for row in golden] == [True] * 4
    parts = found["recipes"][1]["corrected"]["parts"]
    assert [part["label"] for part in parts] == ["no penalty", "L1", "L2", "L1+L2"]
    assert parts[1]["readings"][0]["difference"] is not None and "history" not in parts[0]["runs"][0]
    assert all(Path(path).is_file() for path in found["paths"])


def test_one_form_alone_leaves_the_other_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(course(folder, "norms", "--form", "corrected", "--no-figures", "--json")) == 0
    row = json.loads(capsys.readouterr().out)["table"][0]
    assert row["faithful"] is None and {part["n"] for part in row["corrected"]} == {2}


def test_spotting_the_flaw_shows_the_form_and_gives_nothing_away(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(course(folder, "penalties", "--spot", "--no-figures")) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "100 training" in shown and "What is wrong with it?" in shown
    assert "Flaw" not in shown and "cannot be compared" not in shown and "Lesson" not in shown
    assert "faithful: as the tutorial did it" in shown and "biases" not in shown and "learn from other" not in shown


@pytest.mark.parametrize("name", files.names())
def test_what_is_left_of_a_recipe_to_spot_its_flaw_says_nothing_of_what_the_recipe_says(name: str) -> None:
    recipe = files.recipe(name)
    runs = (SeedResult(0, "ok", "", (), {}, {}, {}),)
    part = PartResult("one", "none", "true", "d", "m", 1, 1, 1, 1, 1, {}, {}, runs, flags=("A red flag.",))
    form = FormResult("faithful", recipe.faithful.says if recipe.faithful else "", (part,), notes=("Not comparable.",))
    left, found = unsaid(recipe, RecipeResult(name, form, form))
    said = json.dumps([asdict(left) | {"forms": None, "experiments": None}, found.to_dict()])
    told = [recipe.lesson, recipe.about, recipe.title, form.says, *form.notes, *part.flags]
    assert not [words for words in (*told, *(flaw.says for flaw in recipe.flaws)) if words in said]
    assert recipe.printed in left.about and found.corrected is None and found.faithful is not None


def test_spotting_the_flaw_as_json_gives_nothing_away_either(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(course(folder, "penalties", "--spot", "--no-figures", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["table"][0]["flaws"] == [] and not found["table"][0]["lesson"]
    assert found["recipes"][0]["faithful"]["notes"] == []


def test_pictures_are_drawn_and_their_paths_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(course(folder, "norms", "--json")) == 0
    paths = [Path(path) for path in json.loads(capsys.readouterr().out)["paths"]]
    drawn = [path for path in paths if path.suffix == ".png"]
    assert drawn and all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nroms"], 2, "no recipe is called 'nroms'"),
        (["norms", "list"], 2, "no recipe is called 'list'"),
        (["norms", "--form", "wrong"], 2, "faithful"),
        (["norms", "--spot", "--form", "corrected"], 2, "--spot shows the faithful form"),
        (["penalties", "--afhq", "nowhere"], 3, "holds no animal faces"),
        (["norms", "--engine", "steam"], 2, "steam"),
    ],
)
def test_what_cannot_be_run_is_said_with_its_exit_code(
    arguments: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["course", *arguments, "--out", str(tmp_path), "--json"]) == code
    captured = capsys.readouterr()
    found = json.loads(captured.out)["error"]
    assert says in found["message"] and found["exit_code"] == code
    assert "Traceback" not in captured.err
