"""Wins over seeds, bootstrap over seeds and images, two fixed models, and what nothing beats."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from robustreg import statistics
from robustreg.errors import UsageError
from robustreg.statistics import (
    Improvement,
    mcnemar,
    mean_interval,
    pareto_front,
    probability_of_improvement,
    sign_flip_test,
    two_level_bootstrap,
)

# How often the arm is better


@pytest.mark.parametrize(("won", "n"), [(0, 3), (3, 3), (7, 10), (10, 10), (15, 20), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_without_ties_the_interval_is_the_exact_one_of_scipy(won: int, n: int, confidence: float) -> None:
    arm = [1.0] * won + [0.0] * (n - won)
    found = probability_of_improvement(arm, [0.5] * n, confidence)
    expected = stats.binomtest(won, n).proportion_ci(confidence, method="exact")
    assert (found.share, found.n) == (won / n, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_tie_is_half_and_widens_the_interval_on_both_sides() -> None:
    found = probability_of_improvement([1, 1, 1, 0.5], [0.5] * 4)
    assert found.share == 3.5 / 4
    assert found.low == probability_of_improvement([1, 1, 1, 0], [0.5] * 4).low
    assert found.high == 1.0
    assert probability_of_improvement([0.3] * 10, [0.1 + 0.2] * 10) == Improvement(0.5, 0.0, 1.0, 10)


def test_swapped_arms_mirror_share_and_interval() -> None:
    rng = np.random.default_rng(1)
    arm, baseline = rng.integers(0, 6, size=(2, 25)) / 6
    here, there = probability_of_improvement(arm, baseline), probability_of_improvement(baseline, arm)
    assert here.share == pytest.approx(1 - there.share)
    assert (here.low, here.high) == pytest.approx((1 - there.high, 1 - there.low))


@pytest.mark.parametrize("tied", [0.0, 0.3])
def test_the_interval_holds_the_probability_at_least_as_often_as_it_says(tied: float) -> None:
    rng = np.random.default_rng(2)
    won = 0.6 * (1 - tied)
    draws = rng.choice([1, 0, -1], p=[won, tied, 1 - tied - won], size=(3000, 10))
    truth = won + tied / 2
    found = [probability_of_improvement(d, np.zeros(10)) for d in draws]
    held = np.mean([each.low <= truth <= each.high for each in found])
    assert held >= 0.95
    assert np.mean([each.share for each in found]) == pytest.approx(truth, abs=0.01)


def test_an_improvement_is_meaningful_from_three_of_four_seeds_when_that_is_no_chance() -> None:
    def wins(won: int, n: int) -> bool:
        return probability_of_improvement([1] * won + [-1] * (n - won), [0] * n).meaningful

    assert [wins(n, n) for n in (3, 5, 6, 10)] == [False, False, True, True]  # 2 / 2**5 is above 5 % as well
    assert wins(15, 20) and not wins(14, 20)
    assert not wins(15, 21)  # more seeds, and 71 %
    assert wins(600, 800) and not wins(599, 800)


def test_improvement_refuses_what_is_no_pair() -> None:
    for arm, baseline, confidence in (([1, 2], [1], 0.95), ([], [], 0.95), ([math.nan], [1], 0.95), ([1], [0], 1.0)):
        with pytest.raises(UsageError):
            probability_of_improvement(arm, baseline, confidence)


# Seeds and images


def test_the_bootstrap_of_one_model_is_that_of_scipy() -> None:
    right = np.random.default_rng(3).random(400) < 0.8
    found = two_level_bootstrap(right)
    expected = stats.bootstrap((right,), np.mean, method="percentile", n_resamples=9999, rng=0).confidence_interval
    assert (found.mean, found.sd, found.n) == (right.mean(), None, 1)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_one_seed_is_resampled_like_one_model_however_it_is_given() -> None:
    right = (np.random.default_rng(4).random(300) < 0.7).astype(float)
    vector, nested, table = (two_level_bootstrap(values) for values in (right, [right], right[None]))
    assert vector == nested
    assert (table.low, table.high) == pytest.approx((vector.low, vector.high), abs=0.005)


def test_tiny_bootstraps_equal_the_count_of_all_resamples() -> None:
    def brute(draws: list[float]) -> tuple[float, float]:
        return float(np.quantile(draws, 0.1)), float(np.quantile(draws, 0.9))

    table = np.array([[0.0, 1.0, 5.0], [2.0, 2.5, 9.0]])
    crossed = [
        table[np.ix_(rows, columns)].mean()
        for rows in itertools.product(range(2), repeat=2)
        for columns in itertools.product(range(3), repeat=3)
    ]
    apart = [
        np.mean([np.mean([table[row][i] for i in images]) for row, images in zip(rows, chosen, strict=True)])
        for rows in itertools.product(range(2), repeat=2)
        for chosen in itertools.product(list(itertools.product(range(3), repeat=3)), repeat=2)
    ]
    for values, draws in ((table, crossed), (list(table), apart)):
        found = two_level_bootstrap(values, 0.8, resamples=200_000)
        assert (found.low, found.high) == pytest.approx(brute(draws), abs=0.12)
        assert found.mean == pytest.approx(table.mean())
        assert found.sd == pytest.approx(table.mean(1).std(ddof=1))


def test_a_shared_test_set_is_not_averaged_away_by_more_seeds() -> None:
    hard = np.random.default_rng(5).random(200) < 0.3  # every model fails on the same images
    table = np.tile(~hard, (20, 1)).astype(float)
    one = two_level_bootstrap(table[0])
    shared, apart = two_level_bootstrap(table), two_level_bootstrap(list(table))
    assert shared.high - shared.low == pytest.approx(one.high - one.low, rel=0.05)
    assert apart.high - apart.low < 0.4 * (one.high - one.low)


@pytest.mark.parametrize("shared", [True, False])
def test_the_bootstrap_holds_the_truth_where_images_alone_do_not(shared: bool) -> None:
    rng = np.random.default_rng(6)
    held, images_alone, trials = 0, 0, 250
    for _ in range(trials):
        rates = np.clip(0.7 + 0.08 * rng.normal(size=15), 0, 1)
        right = (rng.random((15, 100)) < rates[:, None]).astype(float)
        found = two_level_bootstrap(right if shared else list(right), resamples=400)
        held += found.low <= 0.7 <= found.high
        pooled = mean_interval(right.ravel())
        images_alone += pooled.low <= 0.7 <= pooled.high
    assert held / trials > 0.90
    assert images_alone / trials < 0.80


def test_test_sets_may_have_different_sizes_and_seeds_weigh_the_same() -> None:
    found = two_level_bootstrap([[1.0, 1.0, 1.0, 1.0], [0.0]])
    assert (found.mean, found.low, found.high, found.n) == (0.5, 0.0, 1.0, 2)


def test_the_bootstrap_repeats_with_its_seed_and_pieces_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(7).random((6, 50))
    whole = [two_level_bootstrap(values, seed=1) for values in (table, list(table))]
    assert whole[0] == two_level_bootstrap(table, seed=1) != two_level_bootstrap(table, seed=2)
    monkeypatch.setattr(statistics, "_CHUNK", 50 * 300)
    for values, before in zip((table, list(table)), whole, strict=True):
        found = two_level_bootstrap(values, seed=1)
        assert found != before  # other draws, the same distribution
        assert (found.low, found.high) == pytest.approx((before.low, before.high), abs=0.01)


def test_random_flips_are_made_in_pieces_of_the_stated_size(monkeypatch: pytest.MonkeyPatch) -> None:
    d = 0.1 + np.random.default_rng(8).normal(size=50)
    whole = sign_flip_test(d, resamples=5000)
    monkeypatch.setattr(statistics, "_CHUNK", 50 * 700)
    assert sign_flip_test(d, resamples=5000) == pytest.approx(whole, abs=0.04)


@pytest.mark.parametrize("bad", [[], [[]], [[1.0], [math.nan]], np.zeros((2, 0)), np.zeros((2, 2, 2)), [1.0, math.inf]])
def test_the_bootstrap_refuses_what_is_no_number(bad: list[float]) -> None:
    with pytest.raises(UsageError):
        two_level_bootstrap(bad)


# Two models


def test_mcnemar_is_the_sign_test_of_the_images_on_which_they_disagree() -> None:
    for only_first, only_second in ((0, 6), (3, 9), (10, 10), (1, 0), (40, 60)):
        a = [1] * only_first + [0] * only_second + [1] * 50 + [0] * 7
        b = [0] * only_first + [1] * only_second + [1] * 50 + [0] * 7
        n = only_first + only_second
        tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1)) / 2**n
        assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(min(1.0, 2 * tail))
        if n <= 20:  # a difference of 1, 0 or -1 an image: the sign-flip test says the same
            assert mcnemar(a, b) == pytest.approx(sign_flip_test(np.subtract(a, b)[:n]))


def test_two_models_that_never_disagree_have_p_one() -> None:
    assert mcnemar([True, False], [True, False]) == 1.0
    assert mcnemar([], []) == 1.0


def test_mcnemar_refuses_other_values_and_lengths() -> None:
    for a, b in (([1, 0], [1]), ([0.5], [1]), ([2], [1]), ([[1]], [[1]])):
        with pytest.raises(UsageError):
            mcnemar(a, b)


# What nothing beats


def test_pareto_front_by_hand() -> None:
    points = {"a": (1, 5), "b": (2, 4), "c": (2, 3), "d": (0, 5), "e": (3, 0), "twin": (2, 4)}
    assert pareto_front(points) == ["a", "b", "twin", "e"]
    assert pareto_front({}) == []


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12))
def test_pareto_front_is_what_every_weighting_and_every_rival_agree_on(found: list[tuple[int, ...]]) -> None:
    points = {str(index): point for index, point in enumerate(found)}
    front = pareto_front(points)
    assert front
    for name, point in points.items():
        rivals = [p for p in points.values() if p != point and np.all(np.subtract(p, point) >= 0)]
        assert (name in front) == (not rivals)
    for weights in ((1, 1, 1), (5, 2, 1), (1, 7, 30)):
        best = max(points, key=lambda name: float(np.dot(weights, points[name])))
        assert best in front  # the best by positive weights is never beaten
