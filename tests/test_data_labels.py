"""Labels corrupted on purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robustreg.data import MODES, corrupt_labels
from robustreg.errors import UsageError


def labels(n=20_000, classes=10):
    return torch.from_numpy(np.random.default_rng(0).integers(classes, size=n))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MODES), st.floats(0, 1), st.integers(0, 2**40), st.integers(2, 6), st.integers(0, 60), st.data())
def test_the_masks_and_the_rate_are_exact(mode, rate, seed, classes, n, data):
    y = torch.tensor(data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)), dtype=torch.int64)
    before = y.clone()
    got = corrupt_labels(y, classes, rate=rate, mode=mode, seed=seed)
    assert torch.equal(y, before)  # nothing in place
    assert int(got.touched.sum()) == round(rate * n)
    assert torch.equal(got.wrong, got.y != y) and not bool((got.wrong & ~got.touched).any())
    assert got.effective_rate == (int(got.wrong.sum()) / n if n else 0)
    assert n == 0 or (int(got.y.min()) >= 0 and int(got.y.max()) < classes)
    if mode in ("uniform_other", "pair_flip"):
        assert torch.equal(got.wrong, got.touched)
    if mode == "pair_flip":
        assert torch.equal(got.y[got.touched], (y[got.touched] + 1) % classes)
    if mode == "permute":
        assert torch.equal(got.y.bincount(minlength=classes), y.bincount(minlength=classes))


def test_uniform_is_wrong_as_often_as_chance_says_and_over_all_classes():
    y = labels()
    got = corrupt_labels(y, 10, rate=1, mode="uniform", seed=3)
    assert got.effective_rate == pytest.approx(0.9, abs=4 * (0.09 / 20_000) ** 0.5)
    assert stats.chisquare(got.y.bincount().numpy()).pvalue > 0.001
    assert stats.chi2_contingency(np.histogram2d(y.numpy(), got.y.numpy(), bins=10)[0]).pvalue > 0.001


def test_uniform_other_spreads_evenly_over_the_other_classes():
    y = labels()
    got = corrupt_labels(y, 10, rate=1, mode="uniform_other", seed=3)
    steps = ((got.y - y) % 10).bincount(minlength=10).numpy()
    assert steps[0] == 0 and stats.chisquare(steps[1:]).pvalue > 0.001


def test_permuted_labels_agree_by_chance_as_often_as_the_class_shares_say():
    # The tutorial's completely noisy set: 33.4 % of its labels are still right, the sum of the squared shares.
    counts = torch.tensor([5153, 4739, 4738])
    y = torch.arange(3).repeat_interleave(counts)
    got = corrupt_labels(y, 3, rate=1, mode="permute", seed=1)
    still_right = float(((counts / counts.sum()) ** 2).sum())
    assert still_right == pytest.approx(0.334, abs=5e-4)
    assert 1 - got.effective_rate == pytest.approx(still_right, abs=0.016)


def test_the_samples_are_chosen_evenly():
    y = torch.zeros(50, dtype=torch.int64)
    chosen = sum(corrupt_labels(y, 2, rate=0.4, seed=seed).touched.int() for seed in range(500))
    # 20 of 50 without replacement: variance .4 * .6 * 500 each, and one degree of freedom less.
    statistic = float(((chosen - 200) ** 2).sum()) / (0.24 * 500) * 49 / 50
    assert 0.001 < stats.chi2.sf(statistic, 49) < 0.999


def test_a_seed_gives_the_same_bits_whatever_the_global_state():
    y = labels(500)
    for mode in MODES:
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        first = corrupt_labels(y, 10, rate=0.3, mode=mode, seed=7)
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(2)
        assert torch.equal(first.y, corrupt_labels(y, 10, rate=0.3, mode=mode, seed=7).y)
        assert not torch.equal(first.touched, corrupt_labels(y, 10, rate=0.3, mode=mode, seed=8).touched)


@pytest.mark.parametrize("mode", ["uniform", "uniform_other", "pair_flip"])
def test_a_higher_rate_keeps_what_a_lower_one_did(mode):
    y = labels(500)
    low, high = (corrupt_labels(y, 10, rate=rate, mode=mode, seed=7) for rate in (0.2, 0.6))
    assert bool(high.touched[low.touched].all())
    assert torch.equal(high.y[low.touched], low.y[low.touched])


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"mode": "unifrom"}, "Did you mean 'uniform'"),
        ({"rate": 1.2}, r"\[0, 1\]"),
        ({"rate": float("nan")}, r"\[0, 1\]"),
        ({"classes": 5}, "from 0 to 4"),
        ({"classes": 1}, "at least 2"),
        ({"y": torch.zeros(3)}, "int64"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error(arguments, says):
    fields = {"y": labels(100), "classes": 10, "rate": 0.5, "mode": "uniform", "seed": 0} | arguments
    with pytest.raises(UsageError, match=says):
        corrupt_labels(fields.pop("y"), fields.pop("classes"), **fields)
