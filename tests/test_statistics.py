"""Intervals, paired tests, corrections and words, against scipy, brute force, definitions and simulation."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from robustreg.errors import UsageError
from robustreg.statistics import (
    Difference,
    Interval,
    detectable_difference,
    differences,
    equivalence_test,
    holm,
    mean_interval,
    paired_difference,
    sign_flip_test,
    wilson_interval,
    word,
)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def by_hand(d: list[float]) -> float:
    """The sign-flip p by its definition: the share of all sign choices with a sum as far from 0."""
    sums = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True))) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    return sum(total >= abs(sum(d)) - 1e-9 for total in sums) / len(sums)


# Intervals


@pytest.mark.parametrize("n", [2, 3, 10, 50])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_mean_interval_is_the_t_interval_of_scipy(n: int, confidence: float) -> None:
    values = 0.9 + 0.01 * normal(n, n)
    found = mean_interval(values, confidence)
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert (found.mean, found.sd, found.n) == pytest.approx((np.mean(values), np.std(values, ddof=1), n), rel=1e-12)


def test_paired_difference_is_the_paired_t_interval_of_scipy() -> None:
    arm, baseline = normal(1, 10), normal(2, 10)
    found = paired_difference(list(arm), list(baseline), 0.9)
    expected = stats.ttest_rel(arm, baseline).confidence_interval(0.9)
    assert isinstance(found, Difference)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert found.mean == pytest.approx(arm.mean() - baseline.mean())


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for values in normal(3, 2000, 5):
        found = mean_interval(values, 0.9)
        held += found.low <= 0 <= found.high
    assert abs(held / 2000 - 0.9) < 3.5 * math.sqrt(0.9 * 0.1 / 2000)


def test_one_seed_has_a_mean_and_nothing_else() -> None:
    assert mean_interval([0.7]) == Interval(0.7, None, None, None, 1)
    assert paired_difference([0.5], [0.25]) == Difference(0.25, None, None, None, 1)


def test_equal_values_give_the_value_and_no_deviation() -> None:
    for n in (3, 10):
        assert mean_interval([0.1] * n) == Interval(0.1, 0.0, 0.1, 0.1, n)
    assert paired_difference([0.5, 0.75], [0.25, 0.5]) == Difference(0.25, 0.0, 0.25, 0.25, 2)


def test_rounding_is_not_a_difference() -> None:
    arm, baseline = [0.1 + 0.2] * 10, [0.3] * 10
    assert arm[0] - baseline[0] > 0
    assert list(differences(arm, baseline)) == [0.0] * 10
    assert paired_difference(arm, baseline) == Difference(0, 0, 0, 0, 10)
    assert differences([1e-9], [0])[0] == 1e-9


def test_differences_leave_their_arguments_alone() -> None:
    arm = np.array([0.3, 0.1 + 0.2])
    differences(arm, np.array([0.3, 0.3]))
    assert arm[1] == 0.1 + 0.2


@pytest.mark.parametrize("bad", [[], [math.nan, 1], [1, math.inf], [1, -math.inf], [1, None], [1e101, 1], [[1, 2]]])
def test_values_that_are_no_numbers_are_refused(bad: list[float]) -> None:
    for call in (
        mean_interval,
        sign_flip_test,
        lambda v: equivalence_test(v, 1),
        lambda v: paired_difference(v, [1, 2]),
    ):
        with pytest.raises(UsageError):
            call(bad)


def test_refusal_names_the_position() -> None:
    with pytest.raises(UsageError, match="value of the baseline is nan at position 1: leave failed and diverged"):
        paired_difference([1, 2], [1, math.nan])


def test_unpaired_values_and_impossible_settings_are_refused() -> None:
    for call in (
        lambda: paired_difference([1, 2, 3], [1, 2]),
        lambda: mean_interval([1, 2], 1.0),
        lambda: mean_interval([1, 2], 95),
        lambda: equivalence_test([1, 2], 0),
        lambda: equivalence_test([1, 2], math.nan),
        lambda: holm([0.5, 1.5]),
        lambda: holm([math.nan]),
        lambda: detectable_difference(-1, 10),
        lambda: detectable_difference(math.nan, 10),
        lambda: detectable_difference(1, 10, power=0.01),
        lambda: wilson_interval(3, 2),
        lambda: wilson_interval(1, 2, 0),
    ):
        with pytest.raises(UsageError):
            call()


# The sign-flip test


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 13])
def test_sign_flip_equals_scipy_and_brute_force(n: int) -> None:
    """Acceptance test 14 of the science, of the sign-flip test."""
    for seed in range(5):
        d = 0.4 + normal(100 * n + seed, n)
        expected = by_hand(list(d))
        assert sign_flip_test(d) == expected
        if 1 < n < 11:
            run = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
            assert sign_flip_test(d) == pytest.approx(run.pvalue, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=1, max_size=8))
def test_sign_flip_counts_ties_exactly_although_the_unit_is_not_exact(counts: list[int]) -> None:
    assert sign_flip_test([count / 500 for count in counts]) == by_hand(counts)


def test_sign_flip_of_twenty_equals_the_count_by_dynamic_programming() -> None:
    counts = [3, 1, 4, 1, -5, 9, 2, -6, 5, 3, 5, 8, 9, -7, 9, 3, 2, -3, 8, 4]
    ways = {0: 1}
    for count in counts:
        following: dict[int, int] = {}
        for total, number in ways.items():
            for way in (total + count, total - count):
                following[way] = following.get(way, 0) + number
        ways = following
    expected = sum(number for total, number in ways.items() if abs(total) >= abs(sum(counts))) / 2**20
    assert sign_flip_test([count / 297 for count in counts]) == expected


@pytest.mark.parametrize("n, floor", [(5, 0.0625), (6, 0.03125), (8, 0.0078125), (10, 0.001953125), (40, 2 / 2**40)])
def test_smallest_p_is_two_in_all_sign_choices(n: int, floor: float) -> None:
    assert sign_flip_test(1 + 0.01 * normal(n, n)) == floor
    assert sign_flip_test([-0.1] * n) == floor


def test_sign_flip_of_no_difference_is_one() -> None:
    assert sign_flip_test([0.0] * 10) == 1.0
    assert sign_flip_test([0.0] * 50) == 1.0
    assert sign_flip_test([0.1, 0.2, -0.3]) == 1.0


def test_random_flips_repeat_with_the_seed_and_agree_with_the_normal_limit() -> None:
    d = 0.2 + normal(7, 60)
    p = sign_flip_test(d, seed=1)
    assert p == sign_flip_test(d, seed=1) != sign_flip_test(d, seed=2)
    limit = 2 * stats.norm.sf(abs(d.sum()) / math.sqrt((d**2).sum()))
    assert abs(p - limit) < 0.01
    assert sign_flip_test(np.ones(60), resamples=999) == 1 / 1000


def test_random_flips_are_made_in_pieces_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    d = 0.1 + normal(8, 50)
    monkeypatch.setattr("robustreg.statistics._CHUNK", 50 * 700)
    in_pieces = sign_flip_test(d, resamples=10_000)
    limit = 2 * stats.norm.sf(abs(d.sum()) / math.sqrt((d**2).sum()))
    assert abs(in_pieces - limit) < 0.03


def test_two_equal_arms_are_told_apart_no_more_often_than_the_level() -> None:
    """Acceptance test 13 of the science: an A/A test."""
    rng = np.random.default_rng(11)
    trials = 1500
    # Accuracies on 300 images: discrete, with ties, as in a study.
    arm, baseline = (rng.binomial(300, 0.9, size=(trials, 10)) / 300 for _ in range(2))
    rejected = np.array([sign_flip_test(differences(a, b)) < 0.05 for a, b in zip(arm, baseline, strict=True)])
    assert rejected.mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert rejected.mean() > 0.02  # and the test is not blind


def test_a_family_of_equal_arms_has_a_false_winner_no_more_often_than_the_level() -> None:
    """Acceptance test 13 of the science, of a family."""
    rng = np.random.default_rng(12)
    trials, false = 300, 0
    for _ in range(trials):
        baseline = rng.normal(size=10)
        p = holm([sign_flip_test(differences(rng.normal(size=10), baseline)) for _ in range(5)])
        false += min(x for x in p if x is not None) < 0.05
    assert false / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


# Holm


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04: times 4, 3, 2, 1 is .02 .03 .06 .04, and the last may not fall below .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_what_was_not_tested_out_of_the_family() -> None:
    assert holm([None, 0.02, None, 0.04]) == pytest.approx([None, 0.04, None, 0.04])
    assert holm([None]) == [None]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.012, 0.02, 0.04, 0.05, 0.3, 1.0]), min_size=1, max_size=7))
def test_holm_rejects_what_its_stepwise_definition_rejects(p: list[float]) -> None:
    """Acceptance test 14 of the science, of Holm."""
    for alpha in (0.0101, 0.0499, 0.1501):
        order = sorted(range(len(p)), key=p.__getitem__)
        rejected = set()
        for rank, index in enumerate(order):
            if p[index] > alpha / (len(p) - rank):
                break
            rejected.add(index)
        assert {i for i, adjusted in enumerate(holm(p)) if adjusted <= alpha} == rejected


# Equivalence


@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.4, 2.0])
def test_equivalence_is_the_larger_of_two_one_sided_t_tests_of_scipy(shift: float) -> None:
    """Acceptance test 14 of the science, of two one-sided tests."""
    d = shift + normal(21, 12)
    above = stats.ttest_1samp(d, -1, alternative="greater").pvalue
    below = stats.ttest_1samp(d, 1, alternative="less").pvalue
    assert equivalence_test(d, 1) == pytest.approx(max(above, below), rel=1e-9)


def test_equivalence_is_claimed_when_the_ninety_percent_interval_is_inside_the_margin() -> None:
    claims = 0
    for d in 0.3 + normal(22, 200, 8):
        interval = mean_interval(d, 0.9)
        inside = max(-interval.low, interval.high) < 1
        assert (equivalence_test(d, 1) < 0.05) == inside
        claims += inside
    assert 20 < claims < 180


def test_equivalence_without_a_deviation_is_certain() -> None:
    assert equivalence_test([0.0] * 3, 0.01) == 0.0
    assert equivalence_test([-0.005] * 3, 0.01) == 0.0
    assert equivalence_test([0.01] * 3, 0.01) == 1.0
    assert equivalence_test([-0.02] * 3, 0.01) == 1.0
    assert equivalence_test([0.0], 0.01) == 1.0
    assert equivalence_test([0.0, 5e-324], 0.01) == 0.0


# Power


@pytest.mark.parametrize("n, units", [(5, 1.66), (10, 0.99), (20, 0.66)])
def test_detectable_difference_is_near_the_published_orientation(n: int, units: float) -> None:
    assert detectable_difference(1.0, n) == pytest.approx(units, rel=0.02)


def test_half_a_deviation_needs_thirty_four_pairs() -> None:
    # The textbook answer for a paired t test at 5 % and 80 % power.
    assert detectable_difference(1.0, 33) > 0.5 > detectable_difference(1.0, 34)


@pytest.mark.parametrize("n, alpha, power", [(2, 0.05, 0.8), (5, 0.05 / 15, 0.8), (10, 0.05, 0.8), (10, 0.05, 0.5)])
def test_a_difference_of_the_detectable_size_is_found_with_the_stated_power(n: int, alpha: float, power: float) -> None:
    shift = detectable_difference(1.0, n, alpha=alpha, power=power) * math.sqrt(n)
    critical = stats.t.isf(alpha / 2, n - 1)
    # P(T > critical), integrated over the estimated deviation s: P(Z > critical * s - shift).
    density = stats.chi(n - 1, scale=1 / math.sqrt(n - 1)).pdf
    found, _ = integrate.quad(lambda s: stats.norm.sf(critical * s - shift) * density(s), 0, 10, limit=200)
    assert found == pytest.approx(power, abs=1e-6)


def test_power_by_simulation() -> None:
    d = detectable_difference(2.0, 6) + 2 * normal(31, 20_000, 6)
    found = stats.ttest_1samp(d, 0, axis=1).pvalue < 0.05
    assert abs(found.mean() - 0.8) < 4 * math.sqrt(0.8 * 0.2 / 20_000)


def test_detectable_difference_scales_with_the_deviation_and_knows_its_limits() -> None:
    assert detectable_difference(0.02, 10) == pytest.approx(0.02 * detectable_difference(1, 10))
    assert detectable_difference(0.0, 10) == 0.0
    assert detectable_difference(1.0, 1) is None
    assert detectable_difference(None, 1) is None


# Rates


@pytest.mark.parametrize("successes, n", [(0, 10), (10, 10), (3, 10), (297, 1000), (0, 1), (1, 1)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_interval_is_that_of_scipy(successes: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_rate_stays_between_0_and_1_and_without_a_trial_may_be_anything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert all(wilson_interval(0, n)[0] == 0.0 and wilson_interval(n, n)[1] == 1.0 for n in range(1, 200))


# Words

UP, DOWN, AROUND = (
    Difference(0.02, 0.01, 0.01, 0.03, 10),
    Difference(-0.02, 0.01, -0.03, -0.01, 10),
    Difference(0.001, 0.01, -0.004, 0.006, 10),
)


@pytest.mark.parametrize(
    "difference, p, equivalence, knobs, expected",
    [
        (UP, 0.01, 0.9, {}, "better"),
        (UP, None, None, {}, "better"),
        (UP, 0.05, 0.9, {}, "cannot tell"),
        (UP, 0.01, 0.01, {}, "better"),
        (UP, 0.2, 0.01, {}, "equivalent"),
        (DOWN, 0.01, 0.9, {}, "worse"),
        (DOWN, 0.06, 0.9, {}, "cannot tell"),
        (UP, 0.01, 0.9, {"higher_is_better": False}, "worse"),
        (DOWN, 0.01, 0.9, {"higher_is_better": False}, "better"),
        (AROUND, 0.01, 0.9, {}, "cannot tell"),
        (AROUND, 0.8, 0.049, {}, "equivalent"),
        (AROUND, 0.8, 0.05, {}, "cannot tell"),
        (AROUND, 0.8, None, {}, "cannot tell"),
        (AROUND, 0.8, 0.01, {"margin": None}, "cannot tell"),
        (AROUND, 0.8, 0.01, {"higher_is_better": False}, "equivalent"),
        (UP, 0.01, 0.9, {"blocked": True}, "cannot tell"),
        (DOWN, 0.01, 0.9, {"blocked": True}, "worse"),
        (DOWN, 0.01, 0.9, {"blocked": True, "higher_is_better": False}, "cannot tell"),
        (AROUND, 0.8, 0.01, {"blocked": True}, "cannot tell"),
        (Difference(0.0, 0.0, 0.0, 0.0, 10), 1.0, 0.0, {}, "equivalent"),
        (Difference(0.5, None, None, None, 1), None, None, {}, "cannot tell"),
    ],
)
def test_word(difference: Difference, p: float | None, equivalence: float | None, knobs: dict, expected: str) -> None:
    assert word(difference, p_adjusted=p, equivalence_p=equivalence, **{"margin": 0.01, **knobs}) == expected


def test_the_whole_way_from_values_to_a_word() -> None:
    baseline = 0.9 + 0.01 * normal(41, 10)
    for shift, noise, expected in (
        (0.03, 0.01, "better"),
        (-0.03, 0.01, "worse"),
        (0, 0.003, "equivalent"),
        (0.005, 0.03, "cannot tell"),
    ):
        d = differences(baseline + shift + noise * normal(42, 10), baseline)
        found = word(
            paired_difference(baseline + d, baseline),
            p_adjusted=holm([sign_flip_test(d)])[0],
            equivalence_p=equivalence_test(d, 0.01),
            margin=0.01,
        )
        assert found == expected


def test_importing_statistics_imports_neither_torch_nor_scipy() -> None:
    script = "import sys, robustreg.statistics; print({n.split('.')[0] for n in sys.modules} & {'torch', 'scipy'})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
