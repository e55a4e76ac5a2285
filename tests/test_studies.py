"""The study files: each can be run as it stands, and the small ones find the published directions again."""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import robustreg as rr
from robustreg.cli.main import run
from robustreg.data import Dataset, torchvision_sets
from robustreg.errors import DataError
from robustreg.models import count_parameters
from robustreg.reference import arm_named, claims, judge, ties
from robustreg.study import Plan

FOLDER = Path(__file__).parents[1] / "examples" / "studies"
FILES = sorted(FOLDER.glob("*.toml"))
GPU = FOLDER / "gpu-cifar10-pgd.toml"
NO_DATA = 3


class PlannedError(BaseException):
    """Raised in the place of running, when everything has been planned."""


@pytest.fixture(autouse=True)
def nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DataError("the tests download nothing")

    def unreachable(*_: object, **__: object) -> None:
        raise AssertionError("a study file reached for the network")

    monkeypatch.setenv("ROBUSTREG_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torchvision_sets, "fetch", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)


def cifar(images: int) -> Dataset:
    """Made-up images where CIFAR-10 would be."""
    torch.manual_seed(0)
    part = (torch.arange(images) % 5 == 0).to(torch.int8) * 2
    x = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8)
    return Dataset(name="cifar10", x=x, y=torch.arange(images) // 5 % 10, classes=tuple("abcdefghij"), part=part)


def planned(path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """What `robustreg compare -f` would run."""
    found: list[Plan] = []

    def stop(plan: Plan, **_: object) -> None:
        found.append(plan)
        raise PlannedError

    monkeypatch.setattr("robustreg.study.run_plan", stop)
    with pytest.raises(PlannedError):
        run(["compare", "-f", str(path)])
    return found[0]


def test_the_studies_of_the_issue_are_there() -> None:
    wanted = {
        "goodfellow", "madry-collapse", "zhang-random-labels", "arpit-dropout", "galloway-weight-decay",
        "mixup-reversal", "distillation-carlini", "trades-random-labels", "input-gradient", "sam",
        "rice-robust-overfitting", "gpu-cifar10-pgd",
    }  # fmt: skip
    assert wanted == {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_opens_with_its_paper_what_is_expected_and_what_it_costs(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split("[study]")[0]
    assert all(line.startswith("#") for line in head.splitlines() if line)
    assert " et al, " in head or " and " in head
    assert ("# Expected" in head and "Here: " in head) or path == GPU
    assert "on one core." in head or path == GPU


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_plans_as_it_stands_and_has_the_arms_and_measures_of_its_claims(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_sets, "load", lambda *_: cifar(200))
    plan = planned(path, monkeypatch)
    arms, conditions = {arm.name for arm in plan.arms}, {str(condition) for condition in plan.conditions}
    assert ties(path)
    for tie in ties(path):
        assert {arm_named(arm, arms) for arm in (tie.arm, tie.against_arm)} <= arms
        assert {tie.condition, tie.against_condition or tie.condition} <= conditions
        for measure in (tie.measure, tie.against_measure or tie.measure):
            name, _, at = measure.partition("@")
            assert name in plan.measures()
            assert not at or float(at) in plan.eps
    used = {arm_named(name, arms) for tie in ties(path) for name in (tie.arm, tie.against_arm)}
    assert len(arms - used) <= 2  # a baseline that every study has, and one arm to look at


def test_without_its_data_the_gpu_preset_says_so_and_is_no_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "-f", str(GPU)]) == NO_DATA
    assert "cifar10" in capsys.readouterr().err


def test_the_gpu_preset_is_the_recipe_of_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_sets, "load", lambda *_: cifar(200))
    plan = planned(GPU, monkeypatch)
    recipe = plan.recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum) == ("sgd", 0.1, 0.9)
    assert (recipe.weight_decay, recipe.batch_size, recipe.epochs) == (5e-4, 128, 30)
    assert plan.headline_eps == 8 / 255
    assert count_parameters(plan.model(0)) == 11_172_170
    pgd = next(arm for arm in plan.arms if arm.name.startswith("pgd@"))
    known = {member.name: member.settings() for member in pgd.regularizers}
    assert set(known) == {"pgd_training", "crop", "flip", "multistep"}
    assert (known["pgd_training"]["strength"], known["pgd_training"]["steps"]) == (8 / 255, 10)
    assert (known["crop"]["strength"], known["flip"]["strength"]) == (4, 0.5)
    assert [rr.regularizers.MultiStep().learning_rate(at) for at in (0.4, 0.6, 0.8)] == pytest.approx([1, 0.1, 0.01])


@pytest.mark.slow
def test_the_gpu_preset_trains_a_narrow_network_on_made_up_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torchvision_sets, "load", lambda *_: cifar(200))
    small = ["--data", "cifar10:train=20,val=10,test=10", "--model", "preact_resnet18:width=2", "--batch-size", "10"]
    small += ["--epochs", "1", "--seeds", "1"]
    assert run(["compare", "-f", str(GPU), *small, "--no-figures", "--engine", "serial", "--out", str(tmp_path)]) == 0


# Smaller than the files where an effect is so large that less shows it.
SMALL: dict[str, dict[str, Any]] = {
    "arpit-dropout": {"seeds": 3, "data": "digits:test=100", "epochs": 30},
    "zhang-random-labels": {"seeds": 3, "data": "digits:test=100", "epochs": 30},
}
SHOWN = {
    "arpit-dropout": {"arpit-noise"},
    "zhang-random-labels": {"zhang-fits", "zhang-chance"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_study_finds_the_published_direction(name: str) -> None:
    path = FOLDER / f"{name}.toml"
    settings = {key.replace("-", "_"): value for key, value in tomllib.loads(path.read_text())["study"].items()}
    settings |= SMALL[name]
    study = rr.compare(settings.pop("specs"), **settings).to_dict()
    found = {tie.claim: judge(tie, study) for tie in ties(path)}
    assert {claim for claim in SHOWN[name] if found[claim].word != "reproduced"} == set(), found
    for claim in SHOWN[name]:  # the direction is read from the table, not from here
        direction, difference = claims()[claim].direction, found[claim].difference
        assert (difference > 0) == (direction == "higher") or direction == "same"
