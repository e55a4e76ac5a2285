"""A study that takes only some measures: nothing else is computed, and everything that reports copes."""

import json

import pytest

import robustreg as rr
from robustreg import measures
from robustreg.cli.main import run
from robustreg.errors import UsageError
from robustreg.measures import together
from robustreg.plugins import discover
from robustreg.report import FIGURES, cards_text, table_text, write_report
from robustreg.study import execute, make_plan
from robustreg.study import tasks as tasks_module

SMALL = {"data": "digits:train=120,val=40,test=60", "seeds": 2, "epochs": 2, "model": "mlp:hidden=16"}


def small(*wanted, **changes):
    settings = {**SMALL, "label_noise": [0.5], "measures": wanted or None, "engine": "serial", **changes}
    return rr.compare(["none", "l2:1e-3"], **settings)


@pytest.fixture
def no_attack(monkeypatch):
    def attacked(*arguments, **settings):
        raise AssertionError("an attack was run")

    monkeypatch.setattr(measures.subject, "evaluate_attacks", attacked)
    monkeypatch.setattr(together, "evaluate_together", attacked)
    monkeypatch.setattr(execute, "trust_flags", attacked)
    monkeypatch.setattr(execute, "examples", attacked)


def test_only_what_is_named_is_measured_and_nothing_is_attacked(no_attack):
    found = small("clean_accuracy", "frobenius_norm")
    for record in found.records:
        assert set(record.measures) == {"clean_accuracy", "frobenius_norm"}, record.reason
        assert "examples" not in record.details and not record.trust
    assert set(found.measures) == {"clean_accuracy", "frobenius_norm"}
    assert found.study["measures"] == ["clean_accuracy", "frobenius_norm"]


def test_a_measure_about_attacks_brings_them_and_the_flags():
    found = small("robust_accuracy", seeds=1)
    for record in found.records:
        of_truth = record.label_condition == "true"
        assert set(record.measures) == ({"robust_accuracy"} if of_truth else set())
        assert bool(record.trust) == of_truth


def test_the_values_are_those_of_a_study_that_takes_all_measures():
    some, everything = small("clean_accuracy", "robust_accuracy", "memorized_fraction"), small()
    assert everything.study["measures"] is None
    for few, many in zip(some.records, everything.records, strict=True):
        assert few.measures == {name: many.measures[name] for name in few.measures}
        assert few.id != many.id


def test_the_measures_are_part_of_what_a_run_is(tmp_path):
    def reused(*wanted):
        seen = []
        small(*wanted, out=tmp_path, on_progress=seen.append)
        return seen[-1].reused

    assert [reused("clean_accuracy"), reused("clean_accuracy"), reused("nll", "clean_accuracy"), reused()] == [
        0,
        8,
        0,
        0,
    ]
    assert reused("clean_accuracy", "nll") == 8  # in whatever order


def test_nothing_waits_for_the_baseline_where_it_is_not_turned_against_others():
    settings = {**SMALL, "label_noise": [], "catalogue": discover()}
    for wanted, waits in ((["clean_accuracy"], False), (["robust_accuracy"], True), (None, True)):
        plan = make_plan(["l2:1e-3"], measures=wanted, **settings)
        runs = list(plan.runs())
        tasks = tasks_module.tasks_of(plan, runs, range(len(runs)), 1)
        assert any(task.needs for task in tasks) is waits


@pytest.mark.parametrize("wanted", [("clean_accuracy",), ("frobenius_norm",), ("memorized_fraction", "robust_curve")])
def test_table_verdict_cards_figures_and_files_cope_with_what_is_not_there(wanted, tmp_path):
    found = small(*wanted)
    text, said = table_text(found), " ".join(found.verdict())
    missing = {"clean_accuracy", "memorized_fraction", "robust_accuracy"} - set(wanted)
    assert "Not measured here" in said and all(name in said for name in missing)
    assert ("accuracy %" in text) is ("clean_accuracy" in wanted)
    assert ("(weak)" in text) is False
    assert f"Nothing was measured but {', '.join(found.measures)}" in " ".join(text.split())
    assert cards_text(found)
    for figure in FIGURES.values():
        figure(found)
    written = write_report(found, tmp_path)
    assert not written.problems
    assert json.loads((tmp_path / "results.json").read_text())["study"]["measures"] == list(found.measures)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [(["clean_acuracy"], "Did you mean 'clean_accuracy'"), ([], "at least one measure"), ("nill", "'nll'")],
)
def test_a_measure_that_is_not_there_is_an_error_before_anything_is_trained(wanted, says):
    with pytest.raises(UsageError, match=says):
        make_plan(catalogue=discover(), measures=wanted, **SMALL)


def test_the_command_takes_names_with_commas_or_a_list_in_a_file(tmp_path, capsys):
    options = ["--data", SMALL["data"], "--model", SMALL["model"], "--seeds", "1", "--epochs", "1", "--no-figures"]
    options += ["--label-noise", "0", "--engine", "serial", "--out", str(tmp_path / "out"), "--json"]
    assert run(["compare", "none", *options, "--measures", "clean_accuracy,nll"]) == 0
    typed = json.loads(capsys.readouterr().out)
    (tmp_path / "study.toml").write_text('measures = ["clean_accuracy", "nll"]\n')
    assert run(["compare", "none", *options, "-f", str(tmp_path / "study.toml")]) == 0
    assert json.loads(capsys.readouterr().out) == typed
    assert set(typed["arms"][0]["runs"][0]["measures"]) == {"clean_accuracy", "nll"}
    assert run(["compare", "none", *options, "--measures", "robust_acuracy"]) == 2
