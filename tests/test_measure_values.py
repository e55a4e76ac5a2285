"""What measures return becomes plain numbers; what is no number is an error that names the measure."""

import json
from collections import OrderedDict
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import robustreg as rr
from robustreg.errors import DataError, PluginError, UsageError
from robustreg.measures import Measure
from robustreg.measures.values import plain_value
from robustreg.study.record import Record
from robustreg.study.request import plan_again
from robustreg.study.unmeasured import failures, flags
from robustreg.study.verify import verify

SMALL = {"data": "digits:train=120,val=40,test=60", "seeds": 1, "epochs": 2, "model": "mlp:hidden=16"}
NUMBERS = [
    (3, 3),
    (0.25, 0.25),
    (True, 1),
    (Fraction(1, 4), 0.25),
    (np.float32(0.25), 0.25),
    (np.float64(0.25), 0.25),
    (np.int64(3), 3),
    (np.bool_(True), 1),
    (np.array(0.25), 0.25),
    (torch.tensor(0.25), 0.25),
    (torch.tensor(0.25, dtype=torch.bfloat16, requires_grad=True), 0.25),
    (torch.tensor(3), 3),
]


@pytest.mark.parametrize(("found", "plain"), NUMBERS, ids=lambda value: f"{type(value).__name__} {value}")
def test_numbers_of_any_library_become_python_numbers_also_by_key(found, plain):
    for value, expected in ((found, plain), (OrderedDict(a=found), {"a": plain})):
        value = plain_value(value)
        assert value == expected and json.loads(json.dumps(value)) == expected
    assert type(plain_value(found)) in (int, float)


def test_keys_that_are_numbers_become_text_as_in_json():
    assert plain_value({np.int64(1): 1.0, 0.5: 2.0, "c": 3.0}) == {"1": 1.0, "0.5": 2.0, "c": 3.0}
    with pytest.raises(TypeError, match="keys that are the same text: 1, '1'"):
        plain_value({1: 0.0, "1": 1.0})


def test_what_holds_no_number_is_left_out():
    assert plain_value(None) is None and plain_value({}) is None


ODD = {
    "text": ("hi", "str 'hi'"),
    "text by key": ({"a": "hi"}, "str 'hi'"),
    "a list": ([0.5], "list \\[0.5\\]"),
    "one number in a row": (torch.zeros(1), "Tensor of shape \\(1,\\)"),
    "an array": (np.zeros((2, 3)), "ndarray of shape \\(2, 3\\)"),
    "a complex number": (torch.tensor(1j), "Tensor of shape \\(\\)"),
    "nested": ({"a": {"b": 1.0}}, "dict {'b': 1.0}"),
    "too large": (10**400, "which no float holds"),
    "nothing by key": ({"a": None}, "NoneType None"),
    "a key that is no text": ({(1, 2): 1.0}, "tuple \\(1, 2\\)"),
}


@pytest.mark.parametrize("what", ODD)
def test_anything_else_is_an_error_that_names_the_measure_what_came_and_what_is_expected(what):
    found, said = ODD[what]
    splits = rr.load_data(SMALL["data"], seed=0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    expected = f"measure 'odd' must return a number, numbers by key, or None where it does not apply; got .*{said}"
    with pytest.raises(PluginError, match=expected):
        rr.evaluate(model, splits, measures=[Measure("odd", lambda subject: found, None, "Odd.")])


def test_measures_can_be_named_as_for_a_study():
    splits = rr.load_data(SMALL["data"], seed=0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    one = Measure("one", lambda subject: 1.0, None, "One.")
    found = rr.evaluate(model, splits, measures=["clean_accuracy", one])
    assert found == {"clean_accuracy": rr.evaluate(model, splits)["clean_accuracy"], "one": 1.0}
    assert list(rr.evaluate(model, splits, measures="nll")) == ["nll"]
    with pytest.raises(UsageError, match=r"unknown measure 'clean_acuracy'\. Did you mean 'clean_accuracy'\?"):
        rr.evaluate(model, splits, measures=["clean_acuracy"])
    with pytest.raises(UsageError, match=r"measures are names, or objects of robustreg\.measures\.Measure; got 3"):
        rr.evaluate(model, splits, measures=[3])


def offered(**measures):
    catalogue = rr.plugins.discover()
    for name, compute in measures.items():
        origin = rr.plugins.Origin(name, f"robustreg-{name}", "1.2")
        catalogue.add("measures", origin, Measure(name, compute, True, "Mine."))
    return catalogue


def raising(error):
    def compute(subject):
        raise error

    return compute


def test_a_study_keeps_the_numbers_of_a_plugin_whatever_library_they_are_of(tmp_path):
    catalogue = offered(scalar=lambda subject: np.float32(0.5), keyed=lambda subject: {"a": torch.tensor(2.0)})
    for _ in range(2):  # the second time as they were kept
        study = rr.compare(["none"], **SMALL, label_noise=[0.0], catalogue=catalogue, out=tmp_path)
        assert study.records[0].measures["scalar"] == 0.5 and study.records[0].measures["keyed"] == {"a": 2.0}


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), UsageError("oops"), SystemExit("oops")], ids=repr)
def test_what_a_measure_of_a_plugin_raises_costs_its_value_and_nothing_else(error):
    study = rr.compare(["none", "l2:1e-3"], **SMALL, label_noise=[0.0], catalogue=offered(mine=raising(error)))
    plain = rr.compare(["none", "l2:1e-3"], **SMALL, label_noise=[0.0], measures=["clean_accuracy"])
    for record, other in zip(study.records, plain.records, strict=True):
        assert record.status == "ok" and record.measures["clean_accuracy"] == other.measures["clean_accuracy"]
        assert "oops" in record.details["unmeasured"]["mine"]
    assert "Not measured in 2 of 2 runs, which are kept without it:" in study.verdict()[-1]
    assert "amber" in str(study) and "mine failed" in study.cards()
    assert "oops (from robustreg-mine 1.2)" in study.to_dict()["arms"][1]["trust"][-1]["says"]


def test_data_that_cannot_be_read_stop_the_study_whoever_asks_for_them():
    with pytest.raises(DataError, match="gone"):
        rr.compare(["none"], **SMALL, label_noise=[0.0], catalogue=offered(mine=raising(DataError("gone"))))


def test_failures_are_counted_over_runs_and_odd_details_are_no_failures():
    details = [{"unmeasured": {"a": "why", "b": "since"}}, {"unmeasured": {"a": "later"}}, {}, {"unmeasured": "odd"}]
    records = [Record(str(at), "none", at, "true", details=each) for at, each in enumerate(details)]
    assert failures(records) == {"a": (2, "why"), "b": (1, "since")}
    assert [(flag["flag"], flag["value"]) for flag in flags(records)] == [("a_failed", 2), ("b_failed", 1)]


@pytest.mark.parametrize("made_with", [{}, {"mine": lambda subject: 1.0}], ids=["installed later", "no longer there"])
def test_a_study_is_verified_whatever_measures_are_installed(made_with, tmp_path):
    small = {**SMALL, "label_noise": [0.0]}
    made = rr.compare(["none"], **small, catalogue=offered(**made_with), out=tmp_path)
    here = {} if made_with else {"mine": lambda subject: 1.0}

    def plan_of(file):
        return plan_again(file, tmp_path, offered(**here))

    found = verify(tmp_path, plan_of, runs=1)
    assert not found.problems and [run["differs"] for run in found.retrained] == [""]
    again = rr.compare(["none"], **small, catalogue=offered(**here), out=tmp_path)
    assert again.records[0].id != made.records[0].id  # though a study with other measures has other runs
