"""Search spaces and samplers: every draw where it must be, every grid whole, every budget kept."""

import math
import sys
from itertools import product

import numpy as np
import pytest
from scipy import stats

import robustreg as rr
from robustreg.cli.tune import CRITERIA as CLI_CRITERIA
from robustreg.cli.tune import SAMPLERS as CLI_SAMPLERS
from robustreg.errors import UsageError
from robustreg.plugins import discover
from robustreg.tuning import SAMPLERS, Axis
from robustreg.tuning.samplers import sampler_of
from robustreg.tuning.samplers.grid import sizes
from robustreg.tuning.samplers.sampler import drawn
from robustreg.tuning.space import model_axes, rate_axis, spaces_of
from robustreg.tuning.trial import CRITERIA

CATALOGUE = discover()
RATE = Axis("learning_rate", 0.005, 0.2, log=True)
STRENGTH = Axis("l1", 1e-6, 1e-1, log=True)
SHARE = Axis("dropout", 0.0, 0.8)
WORDS = Axis("l1.params", values=("weights", "all"))
WIDTH = Axis("model.width", 1, 4, whole=True)


def spaces(*specs, rates="0.005..0.2", model="mlp"):
    return spaces_of(specs, rate_axis(rates, CATALOGUE), model_axes(model, CATALOGUE), CATALOGUE)


def everything(source, axes, budget, score=lambda values: 0.0, seed=0):
    """All points a sampler asks for, round by round, when it is told the score of their values."""
    sampler, rounds = SAMPLERS[source].start(axes, budget, seed), []
    while points := sampler.ask():
        rounds.append(points)
        for point in points:
            sampler.tell(point, score({axis.name: axis.at(u) for axis, u in zip(axes, point, strict=True)}))
    return rounds


def flat(rounds):
    return [point for points in rounds for point in points]


# Axes


def test_uniform_draws_are_log_uniform_on_a_log_axis_and_uniform_on_a_linear_one():
    draws = [drawn((STRENGTH, SHARE), draw, seed=0) for draw in range(2000)]
    strengths, shares = np.log10([STRENGTH.at(u) for u, _ in draws]), np.array([SHARE.at(u) for _, u in draws])
    assert stats.kstest(strengths, stats.uniform(-6, 5).cdf).pvalue > 0.01
    assert stats.kstest(shares, stats.uniform(0, 0.8).cdf).pvalue > 0.01
    assert abs(np.corrcoef(strengths, shares)[0, 1]) < 0.06
    # The test can fail: the linear axis is far from uniform in its logarithm.
    assert stats.kstest(np.log10(shares[shares > 0]), stats.uniform(-6, 6).cdf).pvalue < 1e-6


def test_whole_numbers_and_lists_are_equally_likely():
    for axis in (WIDTH, WORDS):
        found = [axis.at(drawn((axis,), draw, seed=1)[0]) for draw in range(2000)]
        assert len(set(found)) == axis.count
        assert stats.chisquare([found.count(value) for value in sorted(set(found))]).pvalue > 0.01
    log = Axis("w", 1, 64, log=True, whole=True)
    halves = np.array([log.at(drawn((log,), draw, seed=1)[0]) for draw in range(4000)])
    below = {w: math.log(w) / math.log(65) for w in (2, 4, 16)}  # log-uniform on [1, 65), rounded down
    for w, share in below.items():
        assert np.mean(halves < w) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("axis", [RATE, STRENGTH, SHARE, WIDTH, Axis("w", 32, 256, log=True, whole=True)])
def test_ends_are_met_never_passed_and_values_rise(axis):
    assert (axis.at(0.0), axis.at(1.0)) == (axis.low, axis.high)
    values = [axis.at(u) for u in np.linspace(0, 1, 501)]
    assert values == sorted(values) and all(axis.low <= value <= axis.high for value in values)
    assert all(isinstance(value, int) for value in values) == axis.whole
    if not axis.whole:
        assert all(float(f"{value:.3g}") == value for value in values)


def test_levels_cover_an_axis_evenly_and_never_twice():
    assert [STRENGTH.at(u) for u in STRENGTH.levels(6)] == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    assert [SHARE.at(u) for u in SHARE.levels(5)] == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert [SHARE.at(u) for u in SHARE.levels(1)] == [0.4]
    assert [WIDTH.at(u) for u in WIDTH.levels(9)] == [1, 2, 3, 4]
    assert [WIDTH.at(u) for u in WIDTH.levels(2)] == [1, 4]
    assert [WORDS.at(u) for u in WORDS.levels(9)] == ["weights", "all"]
    many = Axis("x", values=tuple(range(9)))
    assert [many.at(u) for u in many.levels(3)] == [0, 4, 8]


# Spaces


def test_a_space_has_the_learning_rate_and_what_the_spec_leaves_open_with_the_scale_of_the_knob():
    none, l1, dropout, fixed = spaces("l1:1e-6..1e-1", "dropout:0..0.8,input=0,0.2", "label_smoothing:0.1")
    assert none.arm == "none" and none.axes == fixed.axes == (RATE,)
    assert l1.axes == (RATE, STRENGTH)
    assert dropout.axes == (RATE, SHARE, Axis("dropout.input", values=(0, 0.2)))
    arm = dropout.arm_at({"learning_rate": 0.01, "dropout": 0.25, "dropout.input": 0.2}, CATALOGUE)
    assert arm.name == "dropout:0.25,input=0.2+learning_rate:0.01"
    assert none.arm_at({"learning_rate": 0.01}, CATALOGUE).name == "learning_rate:0.01"
    assert [space.arm_at({}, CATALOGUE).name for space in (none, l1, dropout, fixed)] == [
        "none", "l1:0.0001", "dropout:0.5", "label_smoothing:0.1"
    ]  # fmt: skip


def test_a_grid_with_a_number_of_points_is_a_list_of_values():
    assert spaces("l1:1e-4..1e-2:3")[1].axes[1].values == pytest.approx((1e-4, 1e-3, 1e-2))
    assert spaces("shift:0..2")[1].axes[1] == Axis(
        "shift", 0, 2, whole=isinstance(rr.regularizers.Shift().strength, int)
    )


def test_two_arms_share_their_learning_rates_draw_by_draw_and_a_larger_budget_begins_with_the_smaller():
    (small,), (large,) = everything("random", (RATE, STRENGTH), 5), everything("random", (RATE, SHARE), 9)
    assert [point[0] for point in small] == [point[0] for point in large][:5]
    assert everything("random", (RATE, SHARE), 3) == [large[:3]]
    assert everything("random", (RATE, SHARE), 3, seed=1) != [large[:3]]


def test_the_network_may_be_searched():
    _, axes = model_axes("mlp:width=32..256,depth=1..4,std=0.5", CATALOGUE)
    width = Axis("model.width", 32, 256, log=True, whole=True)  # over such a range by factors
    assert axes == (width, Axis("model.depth", 1, 4, whole=True))
    space = spaces("l2", model="mlp:width=32..256,depth=1..4,std=0.5")[1]
    assert space.model_at({"model.width": 64, "model.depth": 3}) == "mlp:width=64,depth=3,std=0.5"
    assert space.model_at({}) == "mlp:std=0.5"
    assert model_axes("mlp:hidden=32,16", CATALOGUE) is None and model_axes("mlp:depth=1,2", CATALOGUE)[1][
        0
    ].values == (1, 2)
    shapes = {w: [m.out_features for m in rr.models.mlp((1, 8, 8), 10, **w).modules() if hasattr(m, "out_features")]
              for w in (dict_of(width=8, depth=3), dict_of(width=8), dict_of(depth=1), dict_of())}  # fmt: skip
    assert list(shapes.values()) == [[8, 8, 8, 10], [8, 8, 10], [128, 10], [128, 64, 10]]


class dict_of(dict):  # a dict that can be a key
    def __init__(self, **values):
        super().__init__(values)

    def __hash__(self):
        return hash(tuple(self.items()))


def test_width_and_depth_of_the_convolutional_network_double_its_channels():
    def channels(**options):
        return [m.out_channels for m in rr.models.cnn((1, 8, 8), 10, **options).modules() if hasattr(m, "out_channels")]

    assert channels() == channels(width=16) == channels(depth=2) == [16, 32]
    assert channels(width=4, depth=3) == [4, 8, 16]
    for build, option in ((rr.models.mlp, {"hidden": (8,)}), (rr.models.cnn, {"channels": (8,)})):
        with pytest.raises(UsageError, match="not both"):
            build((1, 8, 8), 10, width=4, **option)


@pytest.mark.parametrize(
    ("specs", "options", "says"),
    [
        (["l1:0..1e-1"], {}, r"begin above 0\n  l1:0\.\.1e-1\n +\^+  begin just above: 1e-06\.\.0\.1"),
        (["l1:1e-6..1e-1,0.5"], {}, "stands beside other values"),
        (["dropout:0..1.5"], {}, r"must be in \[0, 0.99\], got 1.5"),
        (["l3:0..1"], {}, "l1"),
        (["l1:lamda=1e-5..1e-3"], {}, "Did you mean 'lambda'"),
        (["l1:1e-4+learning_rate:0.1"], {}, "--learning-rates"),
        (["l1"], {"rates": "0..0.2"}, "begin above 0"),
        (["l1"], {"rates": "0"}, "above 0"),
        (["l1"], {"rates": "fast"}, "number"),
        (["l1"], {"rates": "lr=0.1..1"}, "learning rates are a range"),
        (["l1"], {"model": "mlp:hidden=16..32"}, "only an option that is one number"),
        (["l1"], {"model": "mlp:depth=1..2.5"}, "whole numbers"),
        ([rr.regularizers.L1()], {}, "tune takes specs"),
    ],
)
def test_what_cannot_be_searched_is_said_with_what_to_do(specs, options, says):
    with pytest.raises(UsageError, match=says):
        spaces(*specs, **options)


# Samplers


@pytest.mark.parametrize("budget", [1, 2, 5, 12, 13, 30])
def test_a_grid_is_every_combination_of_its_levels_and_the_largest_within_the_budget(budget):
    axes = (RATE, STRENGTH, WORDS)
    (points,) = everything("grid", axes, budget)
    columns = [sorted(set(column)) for column in zip(*points, strict=True)]
    assert sorted(points) == sorted(product(*columns)) and len(points) <= budget
    counts = [len(column) for column in columns]
    assert counts == sizes(axes, budget) and counts[2] <= 2
    for at, axis in enumerate(axes):  # nothing can be made finer, and nothing is two steps coarser than another
        finer = math.prod(counts) // counts[at] * (counts[at] + 1)
        assert finer > budget or (axis.count is not None and counts[at] == axis.count)
    if max(counts) > 1:
        assert all(column[0] == 0.0 and column[-1] == 1.0 for column in columns if len(column) > 1)


def test_a_coordinate_search_goes_axis_by_axis_from_the_best_so_far():
    def score(values):
        return 1 - abs(math.log10(values["learning_rate"] / 0.03)) / 4 - abs(values["dropout"] - 0.2) / 4

    rates, shares = everything("coordinate", (RATE, SHARE), 12, score)
    assert len(rates) == len(shares) == 6
    assert {u for _, u in rates} == {0.5} and [u for u, _ in rates] == RATE.levels(6)
    best = max(rates, key=lambda point: score({"learning_rate": RATE.at(point[0]), "dropout": 0.4}))
    assert {u for u, _ in shares} == {best[0]} and [u for _, u in shares] == SHARE.levels(6)
    assert everything("coordinate", (RATE,), 4) == [[(u,) for u in RATE.levels(4)]]


def test_a_coordinate_search_finds_the_optimum_of_a_sum_and_misses_one_on_a_diagonal():
    axes = (Axis("a", 0, 1), Axis("b", 0, 1))

    def found(score, budget=42):
        points = [dict(zip("ab", point, strict=True)) for points in everything("coordinate", axes, budget, score)
                  for point in points]  # fmt: skip
        return max(points, key=score)

    separable = found(lambda v: 1 - (v["a"] - 0.8) ** 2 - (v["b"] - 0.1) ** 2)
    assert (separable["a"], separable["b"]) == pytest.approx((0.8, 0.1), abs=0.03)
    ridge = lambda v: 1 - abs(v["a"] - v["b"]) - 0.1 * (1 - v["a"])  # noqa: E731  # the best is at (1, 1), along a ridge
    assert found(ridge)["a"] < 0.7


def test_a_coordinate_search_ends_where_there_is_nothing_new():
    found = flat(everything("coordinate", (Axis("learning_rate", values=(0.1,)), WORDS), 12))
    assert sorted(WORDS.at(u) for _, u in found) == ["all", "weights"]


def bowl(values):
    return 1 - ((math.log10(values["learning_rate"]) + 1.3) / 2) ** 2 - (values["dropout"] - 0.6) ** 2


def test_a_bayesian_search_depends_on_what_it_was_told_alone():
    axes = (RATE, SHARE, WORDS)
    score = lambda values: bowl(values) - 0.1 * (values["l1.params"] == "all")  # noqa: E731
    rounds = everything("bayesian", axes, 12, score)
    assert [len(points) for points in rounds] == [4, 4, 4]
    assert rounds[0] == everything("random", axes, 12)[0][:4]
    assert everything("bayesian", axes, 12, score) == rounds
    again = SAMPLERS["bayesian"].start(axes, 12, 0)  # as after a crash: told from the store, it goes on where it was
    for point in rounds[0] + rounds[1]:
        again.tell(point, score({axis.name: axis.at(u) for axis, u in zip(axes, point, strict=True)}))
    assert again.ask() == rounds[2]
    assert everything("bayesian", axes, 12, lambda values: 1 - score(values))[1] != rounds[1]


def test_a_bayesian_search_comes_closer_than_random_draws():
    def best(source, seed):
        points = flat(everything(source, (RATE, SHARE), 40, bowl, seed))
        return max(bowl({"learning_rate": RATE.at(u), "dropout": SHARE.at(v)}) for u, v in points)

    regret = {source: np.mean([1 - best(source, seed) for seed in range(6)]) for source in ("random", "bayesian")}
    assert regret["bayesian"] < 0.5 * regret["random"]


@pytest.mark.parametrize("source", SAMPLERS)
@pytest.mark.parametrize("axes", [(RATE,), (RATE, STRENGTH), (RATE, SHARE, WORDS)])
def test_every_arm_has_the_same_budget_and_never_more(source, axes):
    points = flat(everything(source, axes, 12, lambda values: values["learning_rate"]))
    assert len(points) == 12
    assert all(0 <= u <= 1 for point in points for u in point)
    if source != "random":
        values = {tuple(axis.at(u) for axis, u in zip(axes, point, strict=True)) for point in points}
        assert len(values) == 12 or source == "bayesian"


def test_without_optuna_the_bayesian_sampler_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'robustreg\[tune\]'"):
        SAMPLERS["bayesian"].start((RATE,), 12, 0)
    assert SAMPLERS["random"].start((RATE,), 12, 0).ask()


def test_a_misspelt_sampler_is_an_error_with_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean 'bayesian'"):
        sampler_of("bayesain")


def test_the_command_line_knows_the_names():
    assert tuple(SAMPLERS) == CLI_SAMPLERS and tuple(CRITERIA) == CLI_CRITERIA
