"""Defences that hide their gradients: straight-through, averaged and transferred attacks see through them."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import robustreg as rr
from robustreg.attacks import (
    Attack,
    averaged,
    evaluate_attacks,
    fgsm,
    input_gradient,
    pgd,
    scale_free,
    straight_through,
    transfer,
)
from robustreg.errors import UsageError
from robustreg.layers import Dropout
from robustreg.threat import ThreatModel

EPS = 2 / 16


def fit(seed, squeeze=lambda x: x):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    train = rr.load_data("digits", seed=0).train
    for epoch in range(12):
        for x, y in train.batches(torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch)), 50):
            optimizer.zero_grad()
            F.cross_entropy(model(squeeze(x)), y).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def trained():
    return fit(1)


@pytest.fixture(scope="module")
def points():
    return next(rr.load_data("digits", seed=0).test.batches(None, 200))


def right(model, x, y):
    with torch.no_grad():
        return model(x).argmax(-1) == y


def accuracy(model, x, y):
    return float(right(model, x, y).double().mean())


# --- straight through ---------------------------------------------------------------------------------------------


class Squeeze(nn.Module):
    """Feature squeezing: keep `bits` bits of every pixel (Xu et al, Feature squeezing, 2018)."""

    def __init__(self, bits):
        super().__init__()
        self.top = 2**bits - 1

    def forward(self, x):
        return (x * self.top).round() / self.top


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_straight_through_breaks_a_squeezing_model_on_which_pgd_is_blind(points, bits):
    x, y = points
    squeeze = Squeeze(bits)
    model = nn.Sequential(squeeze, fit(1, squeeze))
    open_model = nn.Sequential(straight_through(squeeze), model[1])
    assert torch.equal(open_model(x), model(x))
    _, _, blind = input_gradient(model, x, y, scale_free)
    assert (blind == 0).all()
    assert (input_gradient(open_model, x, y, scale_free)[2] != 0).flatten(1).any(1).all()
    eps = 0.3 if bits == 1 else 0.2
    plain, adaptive = (pgd(attacked, x, y, eps=eps, steps=20) for attacked in (model, open_model))
    assert ThreatModel("linf", eps).contains(adaptive, x).all()
    # The images break the real model, not only its wrapping.
    assert accuracy(model, adaptive, y) < accuracy(model, plain, y) - 0.3
    assert accuracy(model, x, y) > 0.85


def test_straight_through_is_exact_forward_and_the_identity_or_another_function_backward():
    x = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
    soft = straight_through(torch.round)(3 * x)
    assert torch.equal(soft, (3 * x).round())
    (slope,) = torch.autograd.grad((weight * soft).sum(), x)
    assert torch.equal(slope, 3 * weight)
    (slope,) = torch.autograd.grad((weight * straight_through(torch.sign, torch.tanh)(x)).sum(), x)
    assert torch.allclose(slope, weight * (1 - torch.tanh(x) ** 2))


def test_straight_through_a_module_keeps_it_a_part_of_the_model_and_refuses_another_shape():
    inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    wrapped = straight_through(inner)
    assert [*wrapped.parameters()] == [*inner.parameters()] and not wrapped.eval().function[1].training
    with pytest.raises(UsageError, match=r"got \(2, 3\) from \(2, 4\), and \(2, 4\) to take"):
        straight_through(lambda x: x[:, :3])(torch.rand(2, 4))


# --- averaged -----------------------------------------------------------------------------------------------------


class Noised(nn.Module):
    """A defence that draws new noise each time it is asked, also in evaluation."""

    def __init__(self, network, spread=0.4):
        super().__init__()
        self.network, self.spread = network, spread

    def forward(self, x):
        return self.network(x + self.spread * torch.randn_like(x))


def mean_accuracy(model, x, y, draws=40):
    torch.manual_seed(99)
    return sum(accuracy(model, x, y) for _ in range(draws)) / draws


def test_averaged_gradients_break_a_noisy_model_more_often_than_single_draws_do(trained, points):
    model = Noised(trained)
    x, y = points
    attack = partial(pgd, eps=EPS, steps=15, persist=True)
    plain = mean_accuracy(model, attack(model, x, y), y)
    better = mean_accuracy(model, attack(averaged(model, samples=16), x, y), y)
    assert better < plain - 0.03
    # The same way as a surrogate, and next to it PGD as it is: misled by the first lucky draw.
    moved = transfer(model, x, y, surrogate=averaged(model, samples=16), eps=EPS)
    assert mean_accuracy(model, moved, y) < mean_accuracy(model, pgd(model, x, y, eps=EPS), y) - 0.1


def test_averaged_logits_and_gradients_approach_those_of_the_expectation():
    # The mean of x + noise squared is x squared plus the variance.
    class Square(nn.Module):
        def forward(self, x):
            return (x + 0.5 * torch.randn_like(x)) ** 2

    x = torch.rand(1, 3, dtype=torch.float64, requires_grad=True)
    mean = averaged(Square(), samples=4000)(x)
    (slope,) = torch.autograd.grad(mean.sum(), x)
    assert torch.allclose(mean, x**2 + 0.25, atol=0.05) and torch.allclose(slope, 2 * x, atol=0.05)


def test_averaged_draws_new_noise_in_each_call_the_same_again_by_seed_and_none_from_the_outside(trained, points):
    x, y = points[0][:20], points[1][:20]
    torch.manual_seed(5)
    random = torch.get_rng_state()
    first, other = averaged(Noised(trained), 3, seed=1), averaged(Noised(trained), 3, seed=2)
    one, two = first(x), first(x)
    assert not torch.equal(one, two) and not torch.equal(one, other(x))
    torch.manual_seed(6)
    assert torch.equal(averaged(Noised(trained), 3, seed=1)(x), one)
    torch.set_rng_state(random)
    model = averaged(Noised(trained), 3, seed=1)
    found = [pgd(model, x, y, eps=EPS, steps=5, persist=True) for _ in range(2)]
    assert torch.equal(*found) and int(model.calls) == 0  # an attack leaves no trace, so the next one is the same
    assert torch.equal(torch.get_rng_state(), random)


def test_averaged_averages_layers_that_draw_keyed_noise_too():
    model = nn.Sequential(Dropout(0.5)).train()
    mean = averaged(model, samples=3000)(torch.ones(2, 4))
    assert torch.allclose(mean, torch.ones(2, 4), atol=0.1) and model.training


def test_averaged_refuses_no_samples():
    with pytest.raises(UsageError, match="samples must be at least 1, got 0"):
        averaged(nn.Identity(), samples=0)


# --- transfer -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sibling():
    return fit(2)


def test_transfer_is_the_surrogates_attack_on_what_the_model_gets_right(trained, sibling, points):
    x, y = points
    clean = right(trained, x, y)
    found = transfer(trained, x, y, surrogate=sibling, eps=EPS, seed=3)
    theirs = pgd(sibling, x, y, eps=EPS, seed=3, persist=True)
    assert (~clean).any() and torch.equal(found[~clean], x[~clean])
    assert (found - theirs).abs()[clean].max() < 1e-5
    quick = transfer(trained, x, y, surrogate=sibling, eps=EPS, attack=fgsm)
    assert torch.equal(quick[clean], fgsm(sibling, x, y, eps=EPS)[clean])


def test_transfer_from_itself_is_the_attack_and_from_a_sibling_weaker_but_more_than_noise(trained, sibling, points):
    x, y = points
    itself, other = (
        accuracy(trained, transfer(trained, x, y, surrogate=model, eps=EPS), y) for model in (trained, sibling)
    )
    white = accuracy(trained, pgd(trained, x, y, eps=EPS), y)
    assert abs(itself - white) <= 0.01 and white + 0.05 < other < accuracy(trained, x, y) - 0.1
    # An image at the border of the surrogate is no attack on another model.
    barely = accuracy(trained, transfer(trained, x, y, surrogate=sibling, eps=EPS, attack=pgd), y)
    assert other < barely - 0.1


def test_transfer_breaks_a_model_that_hides_its_gradients_and_runs_in_an_evaluation(trained, sibling, points):
    x, y = points
    model = nn.Sequential(Squeeze(4), trained)
    before = copy.deepcopy(sibling.train().state_dict())
    attacks = [
        Attack("pgd", pgd, "", settings={"steps": 10}),
        Attack("transfer", transfer, "", settings={"surrogate": sibling}),
    ]
    report = evaluate_attacks(model, x, y, attacks, (EPS,), headline=EPS)
    assert report.attack_accuracy["transfer"] < report.attack_accuracy["pgd"] - 0.1
    assert sibling.training and all(torch.equal(value, before[name]) for name, value in sibling.state_dict().items())
    assert all(parameter.requires_grad for parameter in sibling.parameters())
    sibling.eval()
    assert report.robust_accuracy[EPS] <= report.attack_accuracy["transfer"]


def test_transfer_gives_a_sample_the_same_in_any_batch(trained, sibling, points):
    model, other = (copy.deepcopy(network).double() for network in (trained, sibling))
    x, y = points[0][:40].double(), points[1][:40]
    whole = transfer(model, x, y, surrogate=other, eps=EPS)
    parts = [transfer(model, x[at], y[at], surrogate=other, eps=EPS, samples=at) for at in torch.arange(40).split(13)]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-9)
    assert torch.equal(transfer(model, x, y, surrogate=other, eps=0), x)
