"""Naming data, with options."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustreg.data import Dataset, DataSource, datasets, load_data
from robustreg.data.options import options_of, parse
from robustreg.errors import UsageError


def made(where: str, shift: float = 0.5, count: int = 40, flat: bool = False, say=None) -> Dataset:
    if say is not None:
        say(f"{where} {shift} {count} {flat}")
    x = torch.linspace(0, 1, count * 4).reshape(count, 1, 2, 2)
    return Dataset("made", x, torch.arange(count) % 2, ("even", "odd"))


SOURCES = {"made": DataSource("made", made, "A test."), "plain": DataSource("plain", lambda: made("x"), "A test.")}


def test_the_options_of_a_source_are_the_plain_parameters_of_its_load():
    found = options_of(SOURCES["made"])
    assert [(o.name, o.kind, o.default) for o in found.values()] == [
        ("where", str, None),
        ("shift", float, 0.5),
        ("count", int, 40),
        ("flat", bool, False),
    ]


@pytest.mark.parametrize(
    "text, values",
    [
        ("made", {}),
        ("made:here", {"where": "here"}),
        ("made:where=here", {"where": "here"}),
        ("made:/a:b,c+d@e,count=7", {"where": "/a:b,c+d@e", "count": 7}),
        ("made:count=7,flat=true,shift=1e-2", {"count": 7, "flat": True, "shift": 0.01}),
        ("made:here,train=3,val=4,test=5", {"where": "here", "train": 3, "val": 4, "test": 5}),
        ("made:a=b", None),
        ("plain:test=9", {"test": 9}),
    ],
)
def test_a_text_is_a_name_and_options(text, values):
    if values is None:
        with pytest.raises(UsageError, match="no option 'a'"):
            parse(text, SOURCES)
    else:
        assert parse(text, SOURCES) == (text.split(":")[0], values)


@pytest.mark.parametrize(
    "text, says, marked",
    [
        ("mode", "no data set 'mode'.* Did you mean 'made'", "mode"),
        ("", "no data set ''", ""),
        ("made:", "where has no value", ""),
        ("made:x,count=", "count has no value", "count="),
        ("made:x,count=3,count=4", "count is given twice", "count=4"),
        ("made:x,where=y", "where is given twice", "where=y"),
        ("made:x,cuont=3", "no option 'cuont'.* Did you mean 'count'", "cuont=3"),
        ("made:x,count=3.5", "whole number, got '3.5'", "count=3.5"),
        ("made:x,shift=big", "a number, got 'big'", "shift=big"),
        ("made:x,flat=yes", "true or false, got 'yes'", "flat=yes"),
        ("plain:5", "give options as key=value", "5"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error_that_marks_the_place(text, says, marked):
    with pytest.raises(UsageError, match=says) as caught:
        parse(text, SOURCES)
    if marked:
        _, shown, marks = str(caught.value).split("\n")
        start = marks.index("^")
        assert shown[start : start + marks.count("^")] == marked


@pytest.mark.parametrize(
    "options, says",
    [
        ({"where": "x", "count": 7.5}, "whole number"),
        ({"where": "x", "count": True}, "whole number"),
        ({"where": ["x"]}, "must be text"),
        ({"where": "x", "cuont": 7}, "no option 'cuont'"),
        ({}, "needs where, for example made:WHERE"),
        ({"where": "x", "train": "many"}, "train must be a whole number"),
    ],
)
def test_options_given_in_python_are_checked_too(options, says):
    with pytest.raises(UsageError, match=says):
        load_data("made", sources=SOURCES.values(), **options)


def test_options_in_python_go_before_those_in_the_text_and_sizes_go_to_the_split():
    heard = []
    splits = load_data("made:x,count=60,train=10", sources=SOURCES.values(), count=80, say=heard.append, seed=3)
    assert heard == ["x 0.5 80 False"] and splits.seed == 3
    assert (len(splits.train), len(splits.val), len(splits.test)) == (10, 12, 20)
    same = load_data(SOURCES["made"], where=Path("x"), count=80, train=10, seed=3)
    assert same.hash == splits.hash


def test_a_data_set_in_memory_is_split_as_it_is():
    assert load_data(made("x"), seed=1).hash == load_data("made:x", sources=SOURCES.values(), seed=1).hash
    with pytest.raises(UsageError, match="already loaded and has no option 'count'"):
        load_data(made("x"), count=3)


def test_every_built_in_source_is_described():
    offered = {source.name: source for source in datasets()}
    assert set(offered) == {
        "digits", "mnist5k", "mnist358", "folder", "mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", "svhn",
        "afhq",
    }  # fmt: skip
    for source in offered.values():
        assert source.about.endswith(".") and source.licence != "not stated"
        assert (source.get is None) == (not source.source.startswith("https://"))
        options_of(source)
    assert list(options_of(offered["folder"])) == ["path", "size", "channels", "stream", "memory"]
