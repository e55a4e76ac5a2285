"""The embedded digits are the published ones."""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from robustreg.data import digits
from robustreg.errors import DataError


def test_the_digits_are_those_of_scikit_learn():
    data, truth = digits.load(), load_digits()
    assert data.x.shape == (1797, 1, 8, 8) and data.x.dtype == torch.float32
    assert np.array_equal(data.x[:, 0].double().numpy() * 16, truth.images)
    assert np.array_equal(data.y.numpy(), truth.target)
    assert data.classes == tuple(str(name) for name in truth.target_names)


def test_the_provenance_names_the_file_that_is_shipped():
    folder = resources.files("robustreg.data")
    content = folder.joinpath("digits.npz").read_bytes()
    assert hashlib.sha256(content).hexdigest() in folder.joinpath("PROVENANCE.md").read_text()
    assert len(content) < 50_000


def test_no_digit_occurs_twice():
    assert len(set(digits.load().digests)) == 1797


def test_a_damaged_file_is_noticed(monkeypatch):
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    with pytest.raises(DataError, match="reinstall"):
        digits.load()


def test_the_source_says_what_load_returns():
    data, source = digits.load(), digits.source
    assert (source.shape, source.classes, source.images) == (data.shape, data.classes, len(data))
    assert source.cached() and source.get is None and "CC BY 4.0" in source.licence
