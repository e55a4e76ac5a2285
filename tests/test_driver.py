"""Several attacks over a grid of eps: against brute force, and what the driver refuses."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustreg import hookspecs
from robustreg.attacks import (
    Attack,
    attacks,
    eps_grid,
    evaluate_attacks,
    fgsm,
    pgd,
    protocol_attacks,
)
from robustreg.errors import PluginError, UsageError

GRID, HEADLINE = (0.0, 0.05, 0.1, 0.2), 0.1


def blobs(count, classes=3):
    """Points of three overlapping classes in an 8-dimensional box."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (count,), generator=generator)
    centers = 0.3 + 0.4 * torch.rand(classes, 8, generator=generator)
    return (centers[y] + 0.12 * torch.randn(count, 8, generator=generator)).clamp(0, 1), y


@pytest.fixture(scope="module")
def points():
    return blobs(300)


@pytest.fixture(scope="module")
def model(points):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(network(points[0]), points[1]).backward()
        optimizer.step()
    return network


@pytest.fixture(scope="module", params=["linf", "l2"])
def norm(request):
    return request.param


@pytest.fixture(scope="module")
def report(model, points, norm):
    return evaluate_attacks(model, *points, protocol_attacks("quick"), GRID, headline=HEADLINE, norm=norm, seed=5)


def right(model, x, y):
    with torch.no_grad():
        return model(x).argmax(-1) == y


def test_the_report_equals_running_every_attack_on_every_point_at_every_eps(report, model, points, norm):
    x, y = points
    standing = right(model, x, y)
    for index, eps in enumerate(GRID):
        fast = right(model, fgsm(model, x, y, eps=eps, norm=norm), y)
        assert torch.equal(report.fgsm[index], fast)
        assert report.fgsm_accuracy[eps] == pytest.approx(float(fast.double().mean()))
        standing = standing & fast
        for name, loss in (("pgd", "scale_free"), ("pgd_margin", "margin")):
            slow = right(model, pgd(model, x, y, eps=eps, steps=20, norm=norm, loss=loss, seed=5), y)
            standing = standing & slow
            if eps == HEADLINE:
                assert torch.equal(~report.headline_broken[name], slow & report.clean)
                assert report.attack_accuracy[name] == pytest.approx(float((slow & report.clean).double().mean()))
        assert torch.equal(report.broken_at > index, standing)
        assert report.robust_accuracy[eps] == pytest.approx(float(standing.double().mean()))
    assert 0.1 < report.robust_accuracy[HEADLINE] < report.clean_accuracy - 0.1


def test_the_robust_curve_never_rises_and_lies_below_fgsm_and_every_attack(report):
    curve = list(report.robust_accuracy.values())
    assert curve == sorted(curve, reverse=True)
    assert curve[0] == report.clean_accuracy == report.fgsm_accuracy[0.0]
    assert all(report.robust_accuracy[eps] <= report.fgsm_accuracy[eps] for eps in GRID)
    assert report.robust_accuracy[HEADLINE] <= min(report.attack_accuracy.values())


def test_an_attack_is_recorded_at_the_smallest_eps_at_which_it_won(report):
    found = torch.stack(list(report.attack_broken_at.values()))
    assert torch.equal(found.amin(0), report.broken_at)
    assert (found[:, ~report.clean] == 0).all() and (found[:, report.clean] > 0).all()
    index = GRID.index(HEADLINE)
    for name, broken in report.headline_broken.items():
        assert broken[report.attack_broken_at[name] == index].all()


def test_results_do_not_depend_on_batches_or_on_the_order_of_the_grid(model, points):
    settings = {"headline": HEADLINE, "seed": 5}
    model, x = nn.Sequential(model).double(), points[0].double()
    whole = evaluate_attacks(model, x, points[1], protocol_attacks("quick"), GRID, **settings)
    parts = evaluate_attacks(model, x, points[1], protocol_attacks("quick"), GRID[::-1], batch_size=41, **settings)
    model.float()
    assert torch.equal(whole.broken_at, parts.broken_at)
    assert torch.equal(whole.fgsm, parts.fgsm)
    assert whole.grid == parts.grid and whole.passes["fgsm"] == parts.passes["fgsm"]


def test_zero_and_the_headline_join_the_grid(model, points):
    report = evaluate_attacks(model, *points, (), (0.2,), headline=0.1)
    assert report.grid == (0.0, 0.1, 0.2) == tuple(report.robust_accuracy)


def test_with_fgsm_alone_the_worst_case_is_fgsm_at_any_smaller_eps(model, points):
    report = evaluate_attacks(model, *points, (), GRID, headline=HEADLINE)
    assert torch.equal(report.broken_at > 3, report.fgsm.all(0))


def test_one_gradient_serves_the_whole_fgsm_curve(report):
    assert report.passes["fgsm"].backward == 1
    assert report.passes["fgsm"].forward == 1 + 3


def test_passes_are_counted_per_sample(model, points):
    x, y = (part[right(model, *points)] for part in points)
    calls = []

    def still(model, x, y, *, eps, norm, seed, samples):
        calls.append(len(x))
        with torch.no_grad():
            model(x)
        return x.clone()

    report = evaluate_attacks(model, x, y, [Attack("still", still, "")], (0.1, 0.2), headline=0.1)
    assert calls[0] == len(x) > calls[1]
    assert report.passes["still"].forward == pytest.approx(2 * sum(calls) / len(x))  # its own, and the verification
    assert report.passes["still"].backward == 0
    assert not model._forward_hooks


def test_broken_points_are_not_attacked_again_except_at_the_headline(model, points):
    seen = []

    def watch(model, x, y, *, eps, norm, seed, samples):
        seen.append((eps, samples))
        return pgd(model, x, y, eps=eps, norm=norm, seed=seed, samples=samples, steps=5)

    watched = [Attack("first", watch, ""), Attack("second", watch, "")]
    report = evaluate_attacks(model, *points, watched, GRID, headline=HEADLINE)
    everyone = report.clean.nonzero().squeeze(1)
    for eps, samples in seen:
        if eps == HEADLINE:
            assert torch.equal(samples, everyone)
        else:
            assert (report.broken_at[samples] >= GRID.index(eps)).all()
    sizes = [len(samples) for eps, samples in seen if eps != HEADLINE]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0] < len(everyone)


def test_a_model_without_gradients_is_reported_as_such(points):
    class Rounded(nn.Module):
        def forward(self, x):
            return (x[:, :3] * 4).round()

    report = evaluate_attacks(Rounded(), *points, protocol_attacks("quick"), GRID, headline=HEADLINE)
    assert report.useless_gradient.all() and report.clean.any()


def test_evaluation_leaves_no_trace(model, points):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    random, mode = torch.get_rng_state(), model.train().training
    evaluate_attacks(model, *points, protocol_attacks("quick"), GRID, headline=HEADLINE)
    assert torch.equal(torch.get_rng_state(), random) and model.training == mode
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(p.grad, before) for p, before in zip(model.parameters(), gradients, strict=True))
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "cheat",
    [lambda x: x + 0.11, lambda x: x * torch.nan, lambda x: x - 2],
    ids=["budget", "nan", "box"],
)
def test_an_attack_that_leaves_its_threat_model_is_named(model, points, cheat):
    bad = Attack("cheat", lambda model, x, y, **_: cheat(x), "")
    with pytest.raises(PluginError, match=r"attack 'cheat' returned images outside its threat model \(linf, eps 0.1"):
        evaluate_attacks(model, *points, [bad], (0.1,), headline=0.1)


def test_what_cannot_be_evaluated_is_refused(model, points):
    x, y = points
    only = Attack("only", pgd, "", norms=("linf",))
    for arguments, says in (
        ({"x": x * 3}, "Normalize"),
        ({"y": y[:3]}, "labels must be int64"),
        ({"y": y + 1}, "do not fit a model of 3 classes"),
        ({"attacks": [only, only]}, "two attacks are called 'only'"),
        ({"attacks": [only], "norm": "l2"}, "knows the norms linf, not 'l2'"),
        ({"norm": "l0"}, "norm must be one of"),
        ({"eps_grid": (3,)}, "at most 1"),
        ({"batch_size": 0}, "batch size"),
    ):
        settings = {"x": x, "y": y, "attacks": (), "eps_grid": (0.1,), "headline": 0.1, **arguments}
        with pytest.raises(UsageError, match=says):
            evaluate_attacks(model, **settings)


def test_protocols_are_what_the_protocol_says():
    quick, standard = protocol_attacks("quick"), protocol_attacks("standard")
    assert [attack.name for attack in quick] == [attack.name for attack in standard] == ["pgd", "pgd_margin"]
    assert [attack.settings["loss"] for attack in quick] == ["scale_free", "margin"]
    assert all(attack.settings["steps"] == 20 and "restarts" not in attack.settings for attack in quick)
    for attack in standard:
        assert attack.settings["steps"] == 40 and attack.settings["restarts"] == 3 and attack.settings["fgsm_start"]
    with pytest.raises(UsageError, match="Did you mean 'quick'"):
        protocol_attacks("quik")


def test_settings_of_an_attack_reach_its_function(model, points):
    x, y = points
    ours = attacks_by_name()["pgd"].with_settings("slow", steps=3, loss="margin")
    assert ours.name == "slow" and attacks_by_name()["pgd"].settings == {}
    moved = ours(model, x, y, eps=0.1, norm="linf", seed=1, samples=torch.arange(300))
    assert torch.equal(moved, pgd(model, x, y, eps=0.1, steps=3, loss="margin", seed=1))


def attacks_by_name():
    return {attack.name: attack for attack in attacks()}


def test_the_catalogue_offers_fgsm_as_weak_and_pgd_as_not():
    weak = {name: attack.weak for name, attack in attacks_by_name().items()}
    assert weak["fgsm"] and not weak["pgd"]
    assert hasattr(attacks, f"{hookspecs.PROJECT}_impl")


@pytest.mark.parametrize(
    ("name", "shape", "grid", "headline"),
    [
        ("digits", (1, 8, 8), [0, 1 / 16, 2 / 16, 3 / 16, 4 / 16, 5 / 16], 2 / 16),
        ("mnist", (1, 28, 28), [0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3], 0.1),
        ("afhq", (3, 32, 32), [e / 255 for e in (0, 1, 2, 4, 8, 12, 16)], 8 / 255),
        ("mine", (4,), [0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3], 0.1),
    ],
)
def test_each_kind_of_data_has_its_eps_grid(name, shape, grid, headline):
    assert eps_grid(name, shape) == (tuple(grid), headline)
    steps, middle = eps_grid(name, shape, "l2")
    assert steps[0] == 0 and middle in steps and list(steps) == sorted(steps)
