"""The trust flags: each fires on a model, or a report, made to deserve it, and stays green on an honest one."""

import math
import statistics
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import robustreg as rr
from robustreg.attacks import Attack, AttackReport, protocol_attacks, square
from robustreg.data import Split, Splits
from robustreg.measures import evaluate, subject_of, trust_flags
from robustreg.measures.trust import CHECKS
from robustreg.measures.trust.flag import graded, paired, standard_error
from robustreg.measures.trust.single_step import (
    adversarial_above_clean,
    fgsm_far_above_worst,
    fgsm_stronger_than_pgd,
)

FLAGS = [
    "fgsm_stronger_than_pgd",
    "adversarial_above_clean",
    "fgsm_far_above_worst",
    "ce_far_from_margin",
    "zero_gradients",
    "scale_dependence",
    "eps_half_not_at_chance",
    "black_box_beats_white_box",
    "random_noise_wins",
    "not_converged",
    "low_gradient_agreement",
    "stochastic_forward",
    "batch_dependence",
    "constant_predictor",
]
ALWAYS = ["stochastic_forward", "batch_dependence", "constant_predictor"]
N, SIDE, EPS = 300, 4, 0.1
CLASSES = ("a", "b", "c")


def linear():
    """Three about equally frequent classes by random directions of pixels: gradients tell the whole truth."""
    weight = torch.randn(3, SIDE * SIDE, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 3)).eval()
    model[1].load_state_dict({"weight": weight - weight.mean(1, keepdim=True), "bias": torch.zeros(3)})
    return model


def points(model):
    """Random images labelled by the model, so that its clean accuracy is 1."""
    x = torch.rand(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return x, model(x).argmax(-1)


def subject(model, truth=None, eps=EPS, **settings):
    """A subject on random images, labelled by `truth`."""
    x, y = points(linear() if truth is None else truth)
    part = Split(x, y, CLASSES, torch.arange(N))
    splits = Splits(part, part, part, name="random", classes=CLASSES, shape=(1, SIDE, SIDE), hash="", seed=0)
    return subject_of(model, splits, **{"eps": (0.0, eps), "headline_eps": eps, **settings})


def flags(model, **settings):
    return {flag["flag"]: flag for flag in trust_flags(subject(model, **settings))}


def levels(model, **settings):
    return {name: flag["level"] for name, flag in flags(model, **settings).items()}


class Then(nn.Module):
    """A function of the images, and then a network."""

    def __init__(self, function, model, after=None):
        super().__init__()
        self.function, self.model, self.after = function, model, after

    def forward(self, x):
        found = self.model(self.function(x))
        return found if self.after is None else self.after(found)


def scaled(by):
    return Then(lambda x: x, linear(), lambda logits: by * logits)


def stairs(x):
    return (x * 16).floor() / 16


def shattered(x):
    """Nearly `x`, with a derivative that has nothing to do with it."""
    return x + 0.002 * torch.sin(5e4 * x)


class OwnDropout(nn.Module):
    """Dropout that evaluation mode does not turn off."""

    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


class OwnNormalization(nn.Module):
    """Batch normalization that always uses the batch it sees."""

    def forward(self, x):
        return F.batch_norm(x, None, None, training=True)


# --- An honest model --------------------------------------------------------------------------------------------------


def test_an_honest_model_is_green_in_the_fixed_order():
    found = flags(linear(), surrogate=scaled(2.0))
    assert list(found) == FLAGS
    assert {flag["level"] for flag in found.values()} == {"green"}, found
    for flag in found.values():
        assert list(flag) == ["flag", "level", "value", "says"]
        assert isinstance(flag["value"], float) and math.isfinite(flag["value"])
        assert not flag["says"][0].islower() and flag["says"].endswith(".") and any(c.isdigit() for c in flag["says"])


def test_every_check_says_what_its_flag_is_called_and_where_it_comes_from():
    assert [check.__name__ for check in CHECKS] == FLAGS
    for check in CHECKS:
        assert any(word in check.__doc__ for word in (", 20", "Threshold: ours", "Thresholds: ours")), check


def test_the_flags_leave_the_model_as_it_was_and_are_the_same_again():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(SIDE * SIDE), nn.Linear(SIDE * SIDE, 3)).train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    subjects = [subject(model) for _ in range(2)]
    state = torch.get_rng_state()
    once, again = (trust_flags(each) for each in subjects)
    assert once == again
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model] == [True, False, True]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_without_attacks_only_the_model_itself_is_judged():
    _, y = points(linear())
    assert [flag["flag"] for flag in trust_flags(subject(linear(), given_labels=y))] == ALWAYS
    assert trust_flags(subject(linear(), task="regression")) == []


def test_flags_about_attacks_need_attacks():
    found = [flag["flag"] for flag in trust_flags(subject(linear(), attacks=()))]
    assert found == ["adversarial_above_clean", "zero_gradients", *ALWAYS]
    assert [flag["flag"] for flag in trust_flags(subject(linear(), eps=0.0, headline_eps=0.0))][-3:] == ALWAYS


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_both_norms_are_judged(norm):
    assert list(flags(linear(), norm=norm)) == FLAGS


def test_the_seconds_are_a_measure_and_the_flags_are_found_once():
    judged = subject(linear())
    start = time.perf_counter()
    trust_flags(judged)
    most = time.perf_counter() - start
    assert 0 < judged.trust.seconds <= most
    assert judged.trust is judged.trust
    found = evaluate(linear(), judged.splits)
    assert found["trust_seconds"] > 0
    assert "trust_seconds" not in evaluate(linear(), judged.splits, given_labels=judged.splits.train.y)


@pytest.mark.slow
def test_all_flags_of_the_digits_network_take_well_under_a_second():
    splits = rr.load_data("digits", seed=0)
    torch.manual_seed(0)
    model = rr.train(rr.models.mlp((1, 8, 8), 10), [], splits, seed=0, epochs=10).model
    seconds = min(subject_of(model, splits, seed=0, surrogate=linear_digits()).trust.seconds for _ in range(5))
    assert seconds < 0.8  # 0.15 to 0.2 on an idle core


def linear_digits():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


# --- FGSM against the worst case, on reports made by hand -------------------------------------------------------------


def first(count, n=1000):
    """The first `count` of n points."""
    return torch.arange(n) < count


def report(clean=950, fgsm=500, pgd=450, pgd_margin=450):
    """A report in which each attack leaves the first so many of 1,000 points standing at the headline, 0.1."""
    standing = {"fgsm": first(fgsm) & first(clean), "pgd": first(pgd), "pgd_margin": first(pgd_margin)}
    robust = first(min(fgsm, pgd, pgd_margin, clean))
    return AttackReport(
        norm="linf",
        grid=(0.0, 0.1),
        headline=0.1,
        clean=first(clean),
        fgsm=torch.stack((first(clean), first(fgsm))),
        headline_broken={name: ~which for name, which in standing.items()},
        broken_at=torch.where(robust, 2, torch.where(first(clean), 1, 0)),
        attack_broken_at={},
        useless_gradient=first(0),
        passes={},
        weak=("fgsm",),
    )


def seen(check, found):
    return check(SimpleNamespace(report=found))


def test_fgsm_that_breaks_more_than_pgd_is_red_and_points_only_fgsm_broke_are_amber():
    check = fgsm_stronger_than_pgd
    assert seen(check, report(fgsm=400, pgd=450, pgd_margin=460))["level"] == "red"
    assert seen(check, report(fgsm=450, pgd=450, pgd_margin=450))["level"] == "green"
    crossed = report()
    crossed.headline_broken["fgsm"][:20] = True  # 20 points that PGD did not break, against 50 that FGSM did not
    found = seen(check, crossed)
    assert found["level"] == "amber" and found["value"] == pytest.approx(0.02) and "2.0%" in found["says"]
    crossed = report()
    crossed.headline_broken["fgsm"][:10] = True
    assert seen(check, crossed)["level"] == "green"


@pytest.mark.parametrize(
    ("n", "only_fgsm", "only_pgd", "level"),
    [
        # k of n that only FGSM broke, none the other way: sqrt(k / (1 - k / n)) standard errors, over 2 from 4 on
        (300, 2, 0, "green"),
        (200, 3, 0, "amber"),
        (300, 4, 0, "red"),
        (10_000, 50, 0, "green"),  # .5 %: sure, and too little to matter
        (10_000, 51, 0, "red"),
        # what PGD broke and FGSM did not counts against it: 14 - 6 of 1,000 are 8 / sqrt(20) = 1.8 errors, 15 - 6 2.0
        (1000, 14, 6, "amber"),
        (1000, 16, 6, "red"),
    ],
)
def test_fgsm_is_stronger_only_where_chance_does_not_explain_it(n, only_fgsm, only_pgd, level):
    at = torch.arange(n)
    both = at >= n // 2
    broken = {"fgsm": both | (at < only_fgsm), "pgd": both | ((at >= only_fgsm) & (at < only_fgsm + only_pgd))}
    found = SimpleNamespace(headline=0.1, headline_broken=broken, weak=("fgsm",))
    flag = seen(fgsm_stronger_than_pgd, found)
    assert flag["level"] == level and flag["value"] == pytest.approx(only_fgsm / n)


def test_fgsm_accuracy_above_clean_accuracy_by_over_two_standard_errors_is_red():
    # k points that only FGSM gets right, none the other way: k / N against sqrt(k - k**2 / N) / N, so from k = 4 on.
    assert seen(adversarial_above_clean, report(clean=900, fgsm=903))["level"] == "green"
    found = seen(adversarial_above_clean, report(clean=900, fgsm=904))
    assert found["level"] == "red" and found["value"] == pytest.approx(0.004)


@pytest.mark.parametrize(("fgsm", "expected"), [(600, "green"), (601, "amber"), (750, "amber"), (751, "red")])
def test_fgsm_far_above_the_worst_case(fgsm, expected):
    found = seen(fgsm_far_above_worst, report(fgsm=fgsm))
    assert found["level"] == expected and found["value"] == pytest.approx((fgsm - 450) / 1000)


def test_nothing_is_compared_with_attacks_that_were_not_made():
    lonely = report()
    for name in ("pgd", "pgd_margin"):
        del lonely.headline_broken[name]
    assert seen(fgsm_stronger_than_pgd, lonely) is seen(fgsm_far_above_worst, lonely) is None


@pytest.mark.parametrize(("value", "level"), [(0.1, "green"), (0.11, "amber"), (0.3, "amber"), (0.31, "red")])
def test_a_level_begins_above_its_threshold(value, level):
    assert graded(value, 0.1, 0.3) == level


def test_standard_errors_are_those_of_the_definitions():
    change = torch.tensor([1.0] * 5 + [-1.0] * 2 + [0.0] * 13)
    mean = statistics.fmean(change.tolist())
    assert paired(change) == pytest.approx((mean, mean / (statistics.pstdev(change.tolist()) / 20**0.5)))
    assert paired(torch.zeros(5)) == paired(torch.zeros(0)) == (0.0, 0.0)
    assert paired(-torch.ones(5)) == (-1.0, -math.inf)
    assert standard_error(0.2, 50) == pytest.approx((0.2 * 0.8 / 50) ** 0.5)
    assert standard_error(0.0, 0) == 0.0


# --- Cross-entropy in float32 -----------------------------------------------------------------------------------------


def test_saturated_logits_blind_cross_entropy_and_change_nothing_else():
    found, plain = flags(scaled(3000.0)), flags(linear())
    assert found["ce_far_from_margin"]["level"] == "red" and found["ce_far_from_margin"]["value"] > 0.1
    assert found["zero_gradients"]["level"] == "red"
    assert found["scale_dependence"]["level"] == "red"
    assert "cross-entropy" in found["zero_gradients"]["says"] and "scale-free" not in found["zero_gradients"]["says"]
    others = [name for name in FLAGS if name not in ("ce_far_from_margin", "zero_gradients", "scale_dependence")]
    assert {found[name]["level"] for name in others} == {"green"}
    assert found["fgsm_far_above_worst"]["value"] == pytest.approx(plain["fgsm_far_above_worst"]["value"], abs=0.03)


def test_cross_entropy_and_margin_are_compared_on_the_same_points():
    found = flags(scaled(60.0))["ce_far_from_margin"]
    x, y = (part[:200] for part in points(linear()))
    stands = []
    for loss in ("cross_entropy", "margin"):
        moved = rr.attacks.pgd(scaled(60.0), x, y, eps=EPS, steps=20, loss=loss)
        stands.append(float((scaled(60.0)(moved).argmax(-1) == y).float().mean()))
    assert found["value"] == pytest.approx(stands[0] - stands[1])
    assert f"{100 * found['value']:+.1f} points at eps 0.1" in found["says"]


def test_the_share_without_a_gradient_is_that_of_float32_autograd():
    model = scaled(300.0)
    x, y = (part[:200] for part in points(linear()))
    x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)
    expected = float((gradient == 0).flatten(1).all(1).float().mean())
    assert 0.02 < expected < 0.98
    assert flags(model)["zero_gradients"]["value"] == pytest.approx(expected)


def test_the_saturated_share_is_that_of_points_where_float32_loses_one_minus_the_probability():
    x, y = (part[:200] for part in points(linear()))
    model = scaled(60.0)
    exact = torch.softmax(model(x).double(), -1).gather(-1, y[:, None]).squeeze(1)
    expected = float((1 - exact < 2.0**-24).float().mean())
    assert 0.02 < expected < 0.98
    assert (
        f"{expected:.1%} of the correctly classified points are saturated" in flags(model)["scale_dependence"]["says"]
    )


def test_a_staircase_has_no_gradient_of_any_loss_and_the_flag_says_so():
    found = flags(Then(stairs, linear()))["zero_gradients"]
    assert found["level"] == "red" and found["value"] == 1.0 and "scale-free" in found["says"]


# --- Attacks that fail ------------------------------------------------------------------------------------------------


def lazy(model, x, y, *, eps, norm, seed, samples):
    """An attack that does nothing."""
    return x


def reaching(count):
    """An attack that works on the first `count` points, and does nothing to the others."""

    def run(model, x, y, *, eps, norm, seed, samples):
        moved = rr.attacks.pgd(model, x, y, eps=eps, norm=norm, seed=seed, samples=samples, steps=10)
        return torch.where((samples < count).reshape(-1, 1, 1, 1), moved, x)

    return [Attack("reaching", run, "Works on some points.")]


def test_an_attack_that_may_do_anything_leaves_at_most_the_largest_class_standing():
    _, y = points(linear())
    most = int(y[:200].bincount().max())
    assert 66 < most < 90
    for left, expected in ((most, "green"), (most + 1, "amber"), (most + 25, "red"), (200, "red")):
        found = flags(linear(), attacks=reaching(200 - left))["eps_half_not_at_chance"]
        assert found["level"] == expected and found["value"] == left / 200


def test_a_constant_model_keeps_at_any_eps_its_class_and_no_more():
    constant = Then(lambda x: 0 * x, linear(), lambda logits: logits + torch.tensor([1.0, 0.0, 0.0]))
    found = flags(constant)
    assert found["eps_half_not_at_chance"]["level"] == "green" and found["eps_half_not_at_chance"]["value"] > 0.2
    assert found["constant_predictor"]["level"] == "red"


@pytest.mark.parametrize("function", [stairs, shattered])
def test_a_black_box_wins_where_gradients_are_masked(function):
    found = flags(Then(function, linear()))["black_box_beats_white_box"]
    assert found["level"] == "red" and found["value"] > 0.05


def test_the_random_search_is_square_with_its_queries_on_the_first_standing_points():
    model = Then(stairs, linear())
    judged = subject(model)
    at = (judged.attack_report.broken_at[:200] > 1).nonzero().squeeze(1)[:100]
    x, y = points(linear())
    moved = square(model, x[at], y[at], eps=EPS, queries=100, samples=at)
    expected = int((model(moved).argmax(-1) != y[at]).sum())
    says = {flag["flag"]: flag["says"] for flag in trust_flags(judged)}["black_box_beats_white_box"]
    assert f"(random search {expected})" in says and f"of {len(at)} points" in says
    assert expected > int(
        (model(square(model, x[at], y[at], eps=EPS, queries=5, samples=at)).argmax(-1) != y[at]).sum()
    )


def test_transfer_from_a_sibling_finds_what_a_staircase_hides():
    found = flags(Then(stairs, linear()), surrogate=linear())["black_box_beats_white_box"]
    broken = int(found["says"].split("transfer ")[1].split(")")[0])
    assert found["level"] == "red" and broken > 20
    assert "transfer" not in flags(linear())["black_box_beats_white_box"]["says"]


def test_a_black_box_among_the_attacks_of_the_protocol_is_not_taken_for_a_white_one():
    attacks = [*protocol_attacks("quick"), Attack("square", square, "Square.")]
    assert levels(Then(stairs, linear()), attacks=attacks)["black_box_beats_white_box"] == "red"


def test_random_noise_wins_where_attacks_do_nothing_at_all():
    honest = flags(linear())["random_noise_wins"]
    assert honest["value"] == 0.0 and honest["level"] == "green"
    # FGSM joins every evaluation, so its gradient has to be masked as well.
    found = flags(Then(stairs, linear()), attacks=[Attack("lazy", lazy, "Does nothing.")])["random_noise_wins"]
    assert found["level"] == "red" and found["value"] >= 1


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.08), (0.09, 0.11)], ids=["inside", "corner"])
def test_both_kinds_of_noise_are_drawn(low, high):
    class Band(nn.Module):
        """Wrong where the first pixel has moved by this much, and without a gradient."""

        def forward(self, x):
            moved = (x.flatten(1)[:, 0] - 0.5).abs()
            return F.one_hot(((low < moved) & (moved < high)).long(), 3).float()

    judged = subject(linear())
    grey = replace(judged.splits.test, x=torch.full((N, 1, SIDE, SIDE), 0.5), y=torch.zeros(N, dtype=torch.int64))
    attacks = [Attack("lazy", lazy, "Does nothing.")]
    splits = replace(judged.splits, test=grey)
    found = trust_flags(subject_of(Band(), splits, eps=(0.0, EPS), headline_eps=EPS, attacks=attacks))
    (value,) = [flag["value"] for flag in found if flag["flag"] == "random_noise_wins"]
    assert value == 200


def test_an_attack_of_too_few_steps_is_not_converged():
    attack, _ = protocol_attacks("quick")
    model = curved()  # of a linear one FGSM, which joins every evaluation, breaks all that can be broken
    short = attack.with_settings(steps=3, step_size=EPS / 8)
    assert levels(model, truth=model, attacks=[short])["not_converged"] == "red"
    assert levels(model, truth=model)["not_converged"] == "green"


def curved():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 64), nn.Tanh(), nn.Linear(64, 3)).eval()
    with torch.no_grad():
        model[1].weight *= 25
    return model


def test_an_attack_without_steps_is_not_asked_for_more():
    assert "not_converged" not in flags(linear(), attacks=[Attack("lazy", lazy, "Does nothing.")])


def test_shattered_gradients_do_not_agree_with_their_neighbours():
    found = flags(Then(shattered, linear()))["low_gradient_agreement"]
    assert found["level"] == "amber" and found["value"] < 0.2
    assert flags(linear())["low_gradient_agreement"]["value"] > 0.8


# --- The model itself -------------------------------------------------------------------------------------------------


def test_dropout_left_on_in_evaluation_is_random():
    model = nn.Sequential(nn.Flatten(), OwnDropout(), *linear()[1:])
    found = flags(model)
    assert found["stochastic_forward"]["level"] == "red" and "EOT" in found["stochastic_forward"]["says"]
    assert "batch_dependence" not in found  # cannot be told apart from chance
    ordinary = nn.Sequential(nn.Flatten(), nn.Dropout(), *linear()[1:]).train()
    assert levels(ordinary)["stochastic_forward"] == "green"


def test_noise_on_the_logits_that_changes_no_prediction_is_random_all_the_same():
    found = flags(Then(lambda x: x, linear(), lambda logits: logits * (1 + 0.01 * torch.rand(()))))
    assert found["stochastic_forward"]["level"] == "red" and "0 predictions" in found["stochastic_forward"]["says"]


def test_statistics_of_the_batch_make_a_result_depend_on_it():
    own = nn.Sequential(OwnNormalization(), *linear())
    found = levels(own)
    assert found["batch_dependence"] == "red" and found["stochastic_forward"] == "green"
    ordinary = nn.Sequential(nn.BatchNorm2d(1), *linear()).train()
    assert levels(ordinary)["batch_dependence"] == "green"


@pytest.mark.parametrize(("zeros", "expected"), [(270, "green"), (271, "red")])
def test_a_constant_predictor_is_red(zeros, expected):
    judged = subject(linear())
    logits = F.one_hot((~first(zeros, N)).long(), 3).float()
    judged.__dict__["test_logits"] = logits
    (found,) = [flag for flag in trust_flags(judged) if flag["flag"] == "constant_predictor"]
    assert found["level"] == expected and found["value"] == pytest.approx(zeros / N)


def test_a_small_split_is_judged_too():
    judged = subject(linear())
    few = replace(judged.splits, test=judged.splits.test.subset(torch.arange(1)))
    one = subject_of(linear(), few, eps=(0.0, EPS), headline_eps=EPS)
    assert [flag["flag"] for flag in trust_flags(one)] == [name for name in FLAGS if name != "batch_dependence"]
