"""The trust flags: each fires on a model, or a report, made to deserve it, and stays green on an honest one."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from robustreg.attacks import AttackReport, evaluate_attacks, protocol_attacks
from robustreg.measures import trust_flags

FLAGS = [
    "fgsm_stronger_than_pgd",
    "adversarial_above_clean",
    "fgsm_far_above_worst",
    "ce_far_from_margin",
    "zero_gradients",
    "constant_predictor",
]
N = 1000


def first(count):
    """The first `count` of N points."""
    return torch.arange(N) < count


def report(clean=950, fgsm=500, pgd=450, pgd_margin=450, useless=0, **changes):
    """A report in which each attack leaves the first so many points standing at the headline, 0.1."""
    standing = {"fgsm": first(fgsm) & first(clean), "pgd": first(pgd), "pgd_margin": first(pgd_margin)}
    robust = first(min(fgsm, pgd, pgd_margin, clean))
    fields = {
        "norm": "linf",
        "grid": (0.0, 0.1),
        "headline": 0.1,
        "clean": first(clean),
        "fgsm": torch.stack((first(clean), first(fgsm))),
        "headline_broken": {name: ~which for name, which in standing.items()},
        "broken_at": torch.where(robust, 2, torch.where(first(clean), 1, 0)),
        "attack_broken_at": {},
        "useless_gradient": first(useless),
        "passes": {},
        "weak": ("fgsm",),
    }
    return AttackReport(**{**fields, **changes})


def flags(found, logits=None):
    said = torch.arange(N) % 10
    logits = nn.functional.one_hot(said, 10).float() if logits is None else logits
    splits = SimpleNamespace(test=range(N))
    subject = SimpleNamespace(attack_report=found, classifies=True, splits=splits, test_logits=logits)
    return {flag["flag"]: flag for flag in trust_flags(subject)}


def level(name, **changes):
    return flags(report(**changes))[name]["level"]


def test_an_ordinary_model_is_green_in_the_fixed_order():
    found = flags(report())
    assert list(found) == FLAGS
    assert {flag["level"] for flag in found.values()} == {"green"}
    for flag in found.values():
        assert list(flag) == ["flag", "level", "value", "says"]
        assert not flag["says"][0].islower() and flag["says"].endswith(".") and any(c.isdigit() for c in flag["says"])


def test_fgsm_that_breaks_more_than_pgd_is_red_and_points_only_fgsm_broke_are_amber():
    name = "fgsm_stronger_than_pgd"
    assert level(name, fgsm=400, pgd=450, pgd_margin=460) == "red"
    assert level(name, fgsm=450, pgd=450, pgd_margin=450) == "green"
    crossed = report()
    crossed.headline_broken["fgsm"][:20] = True  # 20 points that PGD did not break, against 50 that FGSM did not
    found = flags(crossed)[name]
    assert found["level"] == "amber" and found["value"] == pytest.approx(0.02) and "2.0%" in found["says"]
    crossed = report()
    crossed.headline_broken["fgsm"][:10] = True
    assert flags(crossed)[name]["level"] == "green"


def test_fgsm_accuracy_above_clean_accuracy_by_over_two_standard_errors_is_red():
    name = "adversarial_above_clean"
    # k points that only FGSM gets right, none the other way: k / N against sqrt(k - k**2 / N) / N, so from k = 4 on.
    assert level(name, clean=900, fgsm=903) == "green"
    assert level(name, clean=900, fgsm=904) == "red"
    assert flags(report(clean=900, fgsm=904))[name]["value"] == pytest.approx(0.004)


@pytest.mark.parametrize(("fgsm", "expected"), [(600, "green"), (601, "amber"), (750, "amber"), (751, "red")])
def test_fgsm_far_above_the_worst_case(fgsm, expected):
    found = flags(report(fgsm=fgsm))["fgsm_far_above_worst"]
    assert found["level"] == expected and found["value"] == pytest.approx((fgsm - 450) / N)


@pytest.mark.parametrize(
    ("margin", "expected"), [(450, "green"), (480, "green"), (415, "amber"), (355, "amber"), (340, "red")]
)
def test_cross_entropy_far_from_margin(margin, expected):
    found = flags(report(pgd_margin=margin))["ce_far_from_margin"]
    assert found["level"] == expected and found["value"] == pytest.approx((450 - margin) / N)


@pytest.mark.parametrize(("useless", "expected"), [(0, "green"), (1, "amber"), (47, "amber"), (48, "red")])
def test_zero_gradients_are_counted_among_the_correct(useless, expected):
    found = flags(report(useless=useless))["zero_gradients"]
    assert found["level"] == expected and found["value"] == pytest.approx(useless / 950)


@pytest.mark.parametrize(("zeros", "expected"), [(900, "green"), (901, "red")])
def test_a_constant_predictor_is_red(zeros, expected):
    logits = nn.functional.one_hot((~first(zeros)).long(), 10).float()
    found = flags(report(), logits)["constant_predictor"]
    assert found["level"] == expected and found["value"] == pytest.approx(zeros / N)


def test_without_attacks_only_the_constant_predictor_is_judged():
    assert list(flags(None)) == ["constant_predictor"]


def test_flags_that_compare_attacks_need_them():
    lonely = report()
    for name in ("pgd", "pgd_margin"):
        del lonely.headline_broken[name]
    assert list(flags(lonely)) == ["adversarial_above_clean", "zero_gradients", "constant_predictor"]


def test_a_staircase_that_hides_its_gradient_is_flagged_by_a_real_evaluation():
    x, y = torch.rand(200, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 2

    class Stairs(nn.Module):
        def forward(self, x):
            return (x.flatten(1)[:, :2] * 8).floor()

    y = Stairs()(x).argmax(-1)
    found = evaluate_attacks(Stairs(), x, y, protocol_attacks("quick"), (0.1,), headline=0.1)
    assert flags(found)["zero_gradients"]["level"] == "red"


def test_cross_entropy_alone_would_be_fooled_by_a_saturated_loss_that_margin_sees():
    # The attack on true cross-entropy in the place of "pgd": large logits leave it without a gradient.
    x = torch.rand(300, 4, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    with torch.no_grad():
        model.weight *= 3000
        model.bias *= 3000
    y = model(x).argmax(-1)
    blind, seeing = protocol_attacks("quick")
    attacks = [blind.with_settings(loss="cross_entropy"), seeing]
    found = flags(evaluate_attacks(model, x, y, attacks, (0.1,), headline=0.1))["ce_far_from_margin"]
    assert found["level"] == "red" and found["value"] > 0.1
    honest = flags(evaluate_attacks(model, x, y, protocol_attacks("quick"), (0.1,), headline=0.1))
    assert honest["ce_far_from_margin"]["level"] == "green"
