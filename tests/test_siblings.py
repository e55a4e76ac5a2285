"""Several models attacked together: each report is that of its model alone, whoever the others are."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import robustreg as rr
from robustreg.attacks import (
    Attack,
    attacked,
    attacks,
    evaluate_attacks,
    evaluate_together,
    in_batches,
    pgd,
    protocol_attacks,
    transfer,
)
from robustreg.attacks.losses import SLOPES
from robustreg.attacks.passes import Passes, tallied
from robustreg.attacks.plan import LEAST
from robustreg.attacks.siblings import Siblings, rows
from robustreg.attacks.transfer import Surrogate, make_images
from robustreg.errors import PluginError, UsageError
from robustreg.layers import Dropout, Normalize
from robustreg.measures import Subject, attack_together, trust_flags
from robustreg.models import animalnet_dropout, cnn, mlp
from robustreg.threat import ThreatModel

K, SIZES, SEEDS = 3, (61, 9, 38), (5, 11, 6)
GRID, HEADLINE = (0.05, 0.1, 0.2), 0.1
SMALL = {
    "autoattack": {"version": "fast"},
    "apgd": {"steps": 15, "restarts": 2},
    "apgd_targeted": {"steps": 8, "targets": 3},
    "square": {"queries": 120},
    "pgd": {"steps": 12, "restarts": 3, "fgsm_start": True},
}


@pytest.fixture(scope="module")
def digits():
    return rr.load_data("digits", seed=0)


def trained(build, digits, seed, epochs=6, **options):
    torch.manual_seed(seed)
    model = build((1, 8, 8), 10, **options)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    for _ in range(epochs):
        for x, y in digits.train.batches(torch.randperm(len(digits.train)), 50):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def models(digits):
    return [trained(mlp, digits, seed, hidden=(32, 16)) for seed in range(K)]


@pytest.fixture(scope="module")
def data(digits):
    """Other points, and another number of them, for each model."""
    x, y = next(digits.test.batches(None, sum(SIZES)))
    return x.split(SIZES), y.split(SIZES)


def named(name):
    attack = next(attack for attack in attacks() if attack.name == name)
    return attack.with_settings(**SMALL.get(name, {}))


def both(models, data, chosen, norm="linf", grid=GRID, headline=HEADLINE, **settings):
    together = evaluate_together(models, *data, chosen, grid, headline=headline, norm=norm, seeds=SEEDS, **settings)
    alone = [
        evaluate_attacks(model, x, y, chosen, grid, headline=headline, norm=norm, seed=seed, **settings)
        for model, x, y, seed in zip(models, *data, SEEDS, strict=True)
    ]
    return together, alone


def assert_equal(together, alone):
    for one, other in zip(together, alone, strict=True):
        for key in ("clean", "fgsm", "broken_at", "useless_gradient"):
            assert torch.equal(getattr(one, key), getattr(other, key)), key
        for key in ("headline_broken", "attack_broken_at"):
            ours, theirs = getattr(one, key), getattr(other, key)
            assert list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours), key
        assert one.passes == other.passes and one.weak == other.weak and one.grid == other.grid


# --- asking ---------------------------------------------------------------------------------------------------------


def answers(model, x):
    x = x.clone().requires_grad_()
    logits = model(x)
    (slope,) = torch.autograd.grad((logits * torch.arange(10.0)).sum(), x)
    return logits.detach(), slope


@pytest.mark.parametrize("sizes", [SIZES, (20, 20, 20), (8, 1, 300), (1, 1, 1), (64, 65, 64)])
def test_a_stack_of_linear_layers_answers_with_the_bits_of_each_network(models, digits, sizes):
    x, _ = next(digits.test.batches(None, sum(sizes)))
    with torch.random.fork_rng():
        siblings = Siblings(models, x, sizes)
    assert siblings.chain is not None
    together = [torch.split(part, sizes) for part in answers(siblings, x)]
    for number, (model, part) in enumerate(zip(models, x.split(sizes), strict=True)):
        filled = part[torch.arange(max(len(part), LEAST)).clamp(max=len(part) - 1)]
        for ours, theirs in zip(together, answers(model, filled), strict=True):
            assert torch.equal(ours[number], theirs[: len(part)])


def test_rows_ask_about_some_points_alone_and_networks_without_points_are_left_out(models, data):
    x = torch.cat(data[0])
    siblings, ordinary = Siblings(models, x, SIZES), models[0]
    whole = siblings(x)
    calls = []
    handles = [
        model.register_forward_hook(lambda *_, number=number: calls.append(number))
        for number, model in enumerate(models)
    ]
    try:
        for at in (torch.arange(3), torch.tensor([0, 61, 62, 107]), torch.arange(61, 108), torch.arange(70, 100)):
            assert torch.equal(rows(siblings, at)(x[at]), whole[at])
        again = rows(rows(siblings, torch.arange(50, 100)), torch.tensor([2, 15, 40]))
        assert torch.equal(again(x[[52, 65, 90]]), whole[[52, 65, 90]])
        assert set(calls) == {0, 2}  # where one network is left, it is asked itself
    finally:
        for handle in handles:
            handle.remove()
    assert rows(ordinary, torch.arange(3)) is ordinary


def through_hook(change, backward=None):
    def hooked(model):
        model = copy.deepcopy(model)
        model[1].register_forward_pre_hook(lambda _, inputs: (change(inputs[0]),))
        return model

    return hooked


@pytest.mark.parametrize(
    ("change", "stacks"),
    [
        (lambda model: nn.Sequential(nn.Sequential(Normalize(0.2, 3.0)), *model, nn.Identity()), True),
        (lambda model: nn.Sequential(*model[:2], Dropout(0.5), *model[2:]).eval(), True),
        (through_hook(lambda x: x), True),
        (through_hook(lambda x: x + 0.5), False),
        (through_hook(lambda x: x.detach()), False),
        (lambda model: nn.Sequential(*model[:2], nn.BatchNorm1d(32), *model[2:]).eval(), False),
    ],
    ids=["normalized", "dropout", "idle hook", "hook", "masking hook", "batch normalization"],
)
def test_what_is_stacked_says_what_the_networks_say_and_the_rest_is_asked_one_by_one(models, data, change, stacks):
    changed, x = [change(model) for model in models], torch.cat(data[0])
    siblings = Siblings(changed, x, SIZES)
    assert (siblings.chain is not None) == stacks
    alone = torch.cat([model(part) for model, part in zip(changed, data[0], strict=True)])
    assert torch.allclose(siblings(x), alone, atol=1e-6)


def test_networks_that_differ_in_more_than_weights_are_not_stacked(models, data):
    x = torch.cat(data[0])
    for other in (
        nn.Sequential(*models[1][:2], nn.Tanh(), *models[1][3:]),
        mlp((1, 8, 8), 10, hidden=(32, 17)),
        nn.Sequential(nn.LeakyReLU(0.1), *models[1]),
    ):
        assert Siblings([models[0], other.eval(), models[2]], x, SIZES).chain is None
    leaky = [nn.Sequential(nn.LeakyReLU(slope), *model) for slope, model in zip((0.1, 0.1, 0.2), models, strict=True)]
    assert Siblings(leaky, x, SIZES).chain is None and Siblings(leaky[:2], x[:70], SIZES[:2]).chain is not None


def test_passes_are_counted_for_each_network_without_what_fills_up(models, data):
    x = torch.cat(data[0]).requires_grad_()
    siblings, passes = Siblings(models, x.detach(), SIZES), [Passes() for _ in models]
    with tallied(siblings, passes):
        siblings(x).sum().backward()
        siblings(x.detach())
        at = torch.tensor([0, 1, 70])
        rows(siblings, at)(x[at].detach())
    siblings(x)
    assert [count.forward for count in passes] == [2 * 61 + 2, 2 * 9, 2 * 38 + 1]
    assert [count.backward for count in passes] == [61, 9, 38]


def test_clean_logits_are_remembered_for_these_images_and_no_others(models, data):
    x = torch.cat(data[0])
    siblings = Siblings(models, x, SIZES)
    assert siblings.remembered(x) is None
    siblings.remember(x, logits := siblings(x).detach())
    at = torch.arange(5, 99)
    assert torch.equal(rows(siblings, at).remembered(x[at]), logits[at])
    assert rows(siblings, at).remembered(x[at] * 0.5) is None and siblings.remembered(x.flip(0)) is None


@pytest.mark.parametrize("loss", SLOPES, ids=lambda loss: loss.__name__)
def test_the_closed_form_of_a_loss_is_what_autograd_says_also_where_logits_are_equal(loss):
    logits = 20 * torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits[:10] = logits[:10, :1]  # all the same
    logits[10:20, 1] = logits[10:20, 3]
    y = torch.arange(50) % 4
    losses, slope = SLOPES[loss](logits.clone(), y)
    logits.requires_grad_()
    expected = loss(logits, y)
    assert torch.equal(losses, expected.detach())
    assert torch.allclose(slope, torch.autograd.grad(expected.sum(), logits)[0], atol=1e-15)


# --- attacking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", [attack.name for attack in attacks()])
def test_together_equals_alone_for_every_attack(models, data, name, norm):
    attack = named(name)
    if norm not in attack.norms:
        pytest.skip("another norm")
    assert attack.together
    grid = {"grid": (0.1,)} if norm == "linf" else {"grid": (0.5,), "headline": 0.5}
    together, alone = both(models, data, [attack], norm, **grid)
    assert_equal(together, alone)
    assert len({report.robust_accuracy[report.headline] for report in alone}) > 1
    assert any(report.robust_accuracy[report.headline] < report.clean_accuracy for report in alone)


@pytest.mark.parametrize("batch_size", [1000, 7])
@pytest.mark.parametrize("count", [1, 3])
def test_together_equals_alone_over_a_grid_in_batches_of_any_size(models, data, batch_size, count):
    chosen = [attack.with_settings(steps=12) for attack in protocol_attacks("standard")]
    some = models[:count], tuple(part[:count] for part in data)
    whole = evaluate_together(*[some[0], *some[1]], chosen, GRID, headline=HEADLINE, seeds=SEEDS[:count])
    parts = [
        evaluate_attacks(model, x, y, chosen, GRID, headline=HEADLINE, seed=seed, batch_size=batch_size)
        for model, x, y, seed in zip(some[0], *some[1], SEEDS[:count], strict=True)
    ]
    assert_equal(whole, parts)
    assert any(len(report.broken_at.unique()) > 3 for report in whole)


@pytest.mark.parametrize("build", [cnn, animalnet_dropout, "norm"], ids=["cnn", "animalnet_dropout", "batch norm"])
def test_other_architectures_agree_up_to_rounding(digits, data, build):
    def normed(shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, classes))

    models = [trained(normed if build == "norm" else build, digits, seed, epochs=2) for seed in range(K)]
    together, alone = both(models, data, protocol_attacks("quick"))
    for one, other in zip(together, alone, strict=True):
        assert (one.broken_at == other.broken_at).double().mean() > 0.98
        assert (one.fgsm == other.fgsm).double().mean() > 0.98
        assert one.passes["pgd"].backward == pytest.approx(other.passes["pgd"].backward, rel=0.05)


def test_a_model_that_is_broken_at_once_does_not_disturb_the_others(models, data):
    hopeless = copy.deepcopy(models[1])
    with torch.no_grad():
        hopeless[-1].bias[3] += 1000  # says 3 of everything
    y = (data[1][0], torch.full_like(data[1][1], 4), data[1][2])
    together, alone = both([models[0], hopeless, models[2]], (data[0], y), protocol_attacks("quick"))
    assert_equal(together, alone)
    assert together[1].clean_accuracy == 0 < together[0].clean_accuracy


def test_a_seed_decides_its_own_model_alone(models, data):
    chosen = [named("uniform_noise").with_settings(draws=1)]
    settings = {"headline": 0.4, "eps_grid": (), "attacks": chosen}
    before = evaluate_together(models, *data, seeds=(1, 2, 3), **settings)
    after = evaluate_together(models, *data, seeds=(9, 2, 3), **settings)
    before, after = ([report.headline_broken["uniform_noise"] for report in reports] for reports in (before, after))
    changed = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert changed == [True, False, False]


def test_an_attack_that_knows_nothing_of_siblings_runs_model_by_model(models, data):
    seen = []

    def own(model, x, y, *, eps, norm, seed, samples):
        seen.append((model, seed, samples))
        with torch.no_grad():
            assert model(x).shape == (len(x), 10)  # of these points alone
        return pgd(model, x, y, eps=eps, norm=norm, seed=seed, samples=samples, steps=5)

    chosen = [Attack("own", own, ""), named("pgd")]
    together = evaluate_together(models, *data, chosen, (), headline=HEADLINE, seeds=SEEDS)
    assert [(model, seed) for model, seed, _ in seen] == list(zip(models, SEEDS, strict=True))
    for (_, _, samples), report in zip(seen, together, strict=True):
        assert torch.equal(samples, report.clean.nonzero().squeeze(1))
    assert_equal(*both(models, data, chosen))


def test_an_attack_written_with_in_batches_may_be_handed_siblings(models, data):
    def step(model, x, y, *, eps, norm, seed, samples, batch_size, whole=False):
        threat = ThreatModel(norm, eps)

        def attack(points):
            assert len(points.model(points.x)) == len(points) == len(points.y)
            return threat.start(points.x, points.rng("mine"), points.samples)

        run = attacked if whole else in_batches
        return run(model, x, y, threat, attack, seed=seed, samples=samples, batch_size=batch_size)

    for whole in (True, False):
        attack = Attack("step", step, "", settings={"whole": whole, "batch_size": 13}, together=True)
        together, alone = both(models, data, [attack], grid=(0.3,), headline=0.3)
        assert_equal(together, alone)
        assert any(report.headline_broken["step"][report.clean].any() for report in alone)


def test_nothing_is_left_behind_in_any_model(models, data):
    models = [copy.deepcopy(model).train() for model in models]
    models[1][1].weight.requires_grad_(False)
    states = [copy.deepcopy(model.state_dict()) for model in models]
    random = torch.get_rng_state()
    evaluate_together(models, *data, protocol_attacks("quick"), GRID, headline=HEADLINE, seeds=SEEDS)
    assert torch.equal(torch.get_rng_state(), random)
    for number, (model, state) in enumerate(zip(models, states, strict=True)):
        assert model.training and all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        assert sum(not parameter.requires_grad for parameter in model.parameters()) == (number == 1)
        assert not any(module._forward_hooks for module in model.modules())


def test_what_is_wrong_with_one_of_them_is_said(models, data):
    x, y = data
    cheat = Attack("cheat", lambda model, x, y, **_: x + 1, "", together=True)
    for error, arguments in (
        (UsageError, {"y": (y[0], y[1] + 9, y[2])}),
        (UsageError, {"x": (x[0], x[1] * 2, x[2])}),
        (PluginError, {"attacks": [cheat]}),
    ):
        settings = {"x": x, "y": y, "attacks": (), "eps_grid": (), "headline": 0.1, "seeds": SEEDS, **arguments}
        with pytest.raises(error):
            evaluate_together(models, **settings)


def test_what_is_left_of_many_batches_goes_on_as_one(models, data):
    (x, *_), (y, *_) = data
    calls = []
    handle = models[0].register_forward_hook(lambda model, inputs, logits: calls.append(len(logits)))
    try:
        pgd(models[0], x, y, eps=0.12, steps=20, restarts=2, batch_size=10)
    finally:
        handle.remove()
    assert max(calls) <= 10
    apart = [len(calls_of(models[0], *part, 0.12)) for part in zip(x.split(10), y.split(10), strict=True)]
    assert len(calls) < 0.8 * sum(apart)


def calls_of(model, x, y, eps):
    calls = []
    handle = model.register_forward_hook(lambda model, inputs, logits: calls.append(len(logits)))
    try:
        pgd(model, x, y, eps=eps, steps=20, restarts=2)
    finally:
        handle.remove()
    return calls


# --- measuring ------------------------------------------------------------------------------------------------------


def subjects(models, digits, **knobs):
    others = [*models[1:], models[0]]
    return [
        Subject(
            model,
            rr.load_data("digits", seed=number),
            seed=number,
            eps_grid=(0.0, 0.05, 0.1),
            headline_eps=0.1,
            attacks=protocol_attacks("quick"),
            **{"surrogate": other, **knobs},
        )
        for number, (model, other) in enumerate(zip(models, others, strict=True))
    ]


def test_reports_and_trust_flags_made_together_are_those_of_each_subject(models, digits):
    together, alone = subjects(models, digits), subjects(models, digits)
    attack_together(together)
    assert all({"attack_report", "trust"} <= set(vars(subject)) for subject in together)
    assert_equal([one.attack_report for one in together], [one.attack_report for one in alone])
    for one, other in zip(together, alone, strict=True):
        assert trust_flags(one) == trust_flags(other) and len(trust_flags(one)) == 14
        assert 0 < one.trust.seconds < 10


def test_subjects_that_fit_with_nobody_or_fail_are_left_to_themselves(models, digits):
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("no")

    one, two, _ = subjects(models, digits)
    corrupted = subjects(models, digits, label_condition="random:1.0")[0]
    elsewhere = subjects(models, digits, norm="l2")[0]
    other = subjects([trained(mlp, digits, 0, epochs=1, hidden=(5,)), *models[1:]], digits)[0]
    failing = subjects([Broken(), Broken(), Broken()], digits)
    attack_together([one, corrupted, elsewhere, two, other, *failing])
    assert ["attack_report" in vars(subject) for subject in (one, two)] == [True, True]
    for subject in (corrupted, elsewhere, other, *failing):
        assert "attack_report" not in vars(subject) and "trust" not in vars(subject)
    with pytest.raises(ValueError, match="no"):
        _ = failing[0].attack_report
    attack_together([two, one, subjects(models, digits)[2]])  # those with a report keep it


# --- transfer -------------------------------------------------------------------------------------------------------


def test_a_surrogate_makes_each_image_once_and_the_image_is_that_of_transfer(models, data):
    (x, *_), (y, *_) = data
    surrogate, victim, right = Surrogate(models[1]), models[0], models[0](x).argmax(-1) == y
    known = {"eps": 0.1, "norm": "linf", "seed": 4}
    expected, calls = transfer(victim, x, y, surrogate=models[1], **known), []
    handle = models[1].register_forward_hook(lambda model, inputs, logits: calls.append(len(logits)))
    try:
        some, every = right.nonzero().squeeze(1)[:20], right.nonzero().squeeze(1)
        assert torch.equal(surrogate.images(x, y, some, **known), expected[some])
        first = len(calls)
        assert torch.equal(surrogate.images(x, y, some[3:9], **known), expected[some[3:9]]) and len(calls) == first
        assert torch.equal(surrogate.images(x, y, every, **known), expected[every]) and len(calls) > first
        second = len(calls)
        moved = surrogate.images(x, y, every, **{**known, "seed": 5})
        assert len(calls) > second and not torch.equal(moved, expected[every])
        other = surrogate.images(1 - x, y, some, **known)
        assert (other - (1 - x)[some]).abs().amax() <= 0.1 + 1e-6  # of other images: not from memory
    finally:
        handle.remove()


def test_images_of_several_surrogates_made_at_once_are_those_of_each(models, data):
    surrogates, single = [Surrogate(model) for model in models], [Surrogate(model) for model in models]
    at = [torch.arange(0, len(part), 2) for part in data[0]]
    known = {"eps": 0.1, "norm": "linf"}
    make_images([*surrogates, surrogates[0]], [*data[0], data[0][0]], [*data[1], data[1][0]],
                [*at, torch.tensor([1, 2, 3])], seeds=[*SEEDS, SEEDS[0]], **known)  # fmt: skip
    at[0] = torch.cat((at[0], torch.tensor([1, 3]))).unique()
    for number, (x, y) in enumerate(zip(*data, strict=True)):
        ask = {"seed": SEEDS[number], **known}
        calls = []
        handle = models[number].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        ours = surrogates[number].images(x, y, at[number], **ask)
        handle.remove()
        assert not calls
        assert torch.equal(ours, single[number].images(x, y, at[number], **ask))
