"""Named settings, noise, DeepFool and minimal eps: against closed forms, enumeration and another library."""

import itertools

import foolbox
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import robustreg as rr
from robustreg.attacks import corner_noise, deepfool, deepfool_distance, fgsm, margin, minimal_eps, pgd, uniform_noise
from robustreg.attacks.minimal import lengths
from robustreg.errors import UsageError
from robustreg.plugins import discover
from robustreg.threat import ThreatModel

OFFERED = discover([]).offers["attacks"]
DUAL = {"linf": 1, "l2": 2}


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    train = rr.load_data("digits", seed=0).train
    for epoch in range(15):
        for x, y in train.batches(torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch)), 50):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.double().eval()


@pytest.fixture(scope="module")
def points():
    x, y = next(rr.load_data("digits", seed=0).test.batches(None, 120))
    return x.double(), y


@pytest.fixture(scope="module")
def linear():
    """A linear model of three classes, grey images far from the box, and the labels that it gives them."""
    torch.manual_seed(3)
    model = nn.Linear(12, 3).double()
    x = 0.5 + 0.2 * (torch.rand(60, 12, dtype=torch.float64) - 0.5)
    return model, x, right(model, x)


def right(model, x):
    with torch.no_grad():
        return model(x).argmax(-1)


def distances(model, x, y, norm):
    """How far the nearest image is that a linear model gets wrong: the gap over the dual norm, nearest class."""
    with torch.no_grad():
        logits = model(x)
        found = []
        for k in range(model.out_features):
            slope = model.weight[k] - model.weight[y]
            gap = logits.gather(-1, y[:, None]).squeeze(1) - logits[:, k]
            found.append((gap / slope.norm(p=DUAL[norm], dim=1)).where(y != k, torch.inf))
        return torch.stack(found).amin(0)


# --- minimal eps and DeepFool -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "attack"), [("linf", fgsm), ("linf", pgd), ("l2", fgsm), ("l2", pgd), ("l2", deepfool)]
)
def test_minimal_eps_of_a_linear_model_is_the_gap_over_the_dual_norm(linear, norm, attack):
    # Of two classes: there the one step is exact too. (The box is inactive.)
    model, x, _ = linear
    binary = nn.Linear(12, 2).double()
    binary.load_state_dict({"weight": model.weight[:2], "bias": model.bias[:2]})
    y = right(binary, x)
    exact = distances(binary, x, y, norm)
    high = float(exact.quantile(0.8))
    tolerance = high / 32
    found = minimal_eps(binary, x, y, attack=attack, norm=norm, high=high, tolerance=tolerance)
    inside = exact < 0.9 * high
    assert inside.sum() >= 35
    # Never below, and above by a step of the grid and what the attack itself falls short of.
    short = 1.0 if attack is not pgd else 1.05
    assert (found[inside] >= exact[inside] * (1 - 1e-9)).all()
    assert (found[inside] <= short * (exact[inside] + tolerance) * (1 + 2e-2 * (attack is deepfool))).all()
    assert found[exact > high].isinf().all()


def test_minimal_eps_equals_trying_every_eps_of_the_grid_on_every_image(trained, points):
    x, y = (part[:30] for part in points)
    settings = {"norm": "linf", "seed": 4, "samples": torch.arange(50, 80)}
    quick = OFFERED["pgd"].with_settings(steps=5)
    found = minimal_eps(trained, x, y, attack=quick, high=0.16, tolerance=0.01, **settings)
    broken = torch.stack([right(trained, quick(trained, x, y, eps=0.01 * k, **settings)) != y for k in range(17)])
    at = (found / 0.01).round()
    for index in range(30):
        row = broken[:, index]
        if at[index].isinf():
            assert not row[16]
        else:
            level = int(at[index])
            assert row[level] and (level == 0 or not row[level - 1])
    # Where success is monotone in eps, that is the smallest one.
    monotone = (broken.int().diff(dim=0) >= 0).all(0)
    first = torch.where(broken.any(0), broken.int().argmax(0).double(), torch.inf)
    assert torch.equal(at[monotone], first[monotone]) and monotone.sum() >= 25
    assert (found == 0).sum() == (right(trained, x) != y).sum()


def test_minimal_eps_does_not_depend_on_the_batch_and_leaves_no_trace(trained, points):
    x, y = (part[:20] for part in points)
    model = nn.Sequential(*trained, nn.BatchNorm1d(10).double()).train()
    random = torch.get_rng_state()
    whole = minimal_eps(model, x, y, tolerance=0.05)
    parts = [minimal_eps(model, x[at], y[at], tolerance=0.05, samples=at) for at in torch.arange(20).split(7)]
    assert torch.equal(torch.cat(parts), whole) and torch.equal(
        minimal_eps(model, x, y, tolerance=0.05, batch_size=3), whole
    )
    assert model[-1].training and model[-1].num_batches_tracked == 0 and torch.equal(torch.get_rng_state(), random)
    assert whole.dtype == x.dtype and minimal_eps(model, x[:0], y[:0]).shape == (0,)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_deepfool_of_a_linear_model_is_the_nearest_wrong_image(linear, norm):
    model, x, y = linear
    exact = distances(model, x, y, norm)
    found = deepfool_distance(model, x, y, norm=norm, steps=3, overshoot=1e-6)
    inside = exact < (0.3 if norm == "linf" else 0.4)  # elsewhere the box is in the way
    assert inside.sum() >= 10 and torch.allclose(found[inside], exact[inside], rtol=2e-6)
    assert (found >= exact * (1 - 1e-9)).all()
    # Inside a budget: broken exactly where the nearest wrong image is inside it.
    eps = float(exact.median())
    moved = deepfool(model, x, y, eps=eps, norm=norm, overshoot=1e-6)
    assert ThreatModel(norm, eps).contains(moved, x).all()
    decided = (exact / eps - 1).abs() > 1e-5
    assert torch.equal((right(model, moved) != y)[decided & inside], (exact < eps)[decided & inside])


def test_deepfool_uses_the_box_and_does_not_press_against_it():
    # The steepest pixel is black and would have to be darker; the other one has to do it alone.
    model = nn.Linear(2, 2).double()
    model.load_state_dict({"weight": torch.tensor([[5.0, 0.0], [0.0, 1.0]]), "bias": torch.tensor([0.5, 0.0])})
    x = torch.tensor([[0.0, 0.2]], dtype=torch.float64)
    found = deepfool_distance(model, x, torch.tensor([0]), norm="l2", overshoot=1e-6)
    assert float(found) == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize(
    ("norm", "theirs"), [("l2", foolbox.attacks.L2DeepFoolAttack), ("linf", foolbox.attacks.LinfDeepFoolAttack)]
)
def test_deepfool_goes_no_further_than_foolboxs(trained, points, norm, theirs):
    x, y = points
    ours = deepfool_distance(trained, x, y, norm=norm)
    wrapped = foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu")
    _, moved, broken = theirs(overshoot=0.02, loss="logits")(wrapped, x, y, epsilons=None)
    correct = (right(trained, x) == y) & broken
    ratio = ours[correct] / lengths(moved, x, norm)[correct]
    assert correct.sum() > 100 and ours[right(trained, x) != y].eq(0).all()
    assert ratio.median() <= 1.001 and (ratio <= 1.05).double().mean() >= 0.95


def test_each_minimal_distance_is_where_an_attack_wins(trained, points):
    x, y = (part[:40] for part in points)
    searched = minimal_eps(trained, x, y, high=0.5, tolerance=0.004)
    walked = deepfool_distance(trained, x, y, norm="linf")
    assert ((walked > 0) == (searched > 0)).all() and walked.isfinite().all() and searched.isfinite().all()
    assert float((walked / searched)[searched > 0].median()) == pytest.approx(1.0, abs=0.15)


# --- noise --------------------------------------------------------------------------------------------------------


def test_corner_noise_stands_in_corners_and_many_draws_find_the_worst_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    model[0].bias.data = -model[0].weight.data @ torch.full((3,), 0.5, dtype=torch.float64)  # the centre is undecided
    model[2].bias.data.zero_()
    x = 0.25 + 0.5 * torch.rand(40, 3, dtype=torch.float64)
    y = right(model, x)
    corners = [x + 0.1 * torch.tensor(signs, dtype=torch.float64) for signs in itertools.product((-1.0, 1.0), repeat=3)]
    worst = torch.stack([right(model, corner) != y for corner in corners]).any(0)
    moved = corner_noise(model, x, y, eps=0.1, draws=120)
    assert ((moved - x).abs() - 0.1).abs().max() < 1e-12
    assert torch.equal(right(model, moved) != y, worst) and 0 < worst.sum() < 40


@pytest.mark.parametrize("attack", [uniform_noise, corner_noise])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_keeps_the_worst_of_its_draws_and_each_sample_its_own(trained, points, attack, norm):
    x, y = points
    eps = 0.4 if norm == "linf" else 3.0
    settings = {"eps": eps, "norm": norm, "seed": 2}
    one, ten = (attack(trained, x, y, draws=draws, **settings) for draws in (1, 10))
    first, worst = (right(trained, moved) != y for moved in (one, ten))
    assert not (first & ~worst).any() and worst.sum() > first.sum() > 0
    assert ThreatModel(norm, eps).contains(ten, x).all()
    clean = right(trained, x) == y
    assert not torch.equal((one - x)[clean][0], (one - x)[clean][1])  # samples do not share their noise
    assert torch.equal(attack(trained, x[7:9], y[7:9], samples=torch.tensor([7, 8]), draws=1, **settings), one[7:9])
    # Nobody needs gradients.
    assert torch.equal(attack(nn.Sequential(trained, Detached()), x, y, draws=10, **settings), ten)


class Detached(nn.Module):
    def forward(self, x):
        return x.detach()


# --- named settings -----------------------------------------------------------------------------------------------


def by_name(name, model, x, y, eps=0.1, norm="linf"):
    return OFFERED[name](model, x, y, eps=eps, norm=norm, seed=3, samples=torch.arange(len(x)))


def test_fgm_is_fgsm_in_the_l2_norm(trained, points):
    assert torch.equal(by_name("fgm", trained, *points, eps=0.5, norm="l2"), fgsm(trained, *points, eps=0.5, norm="l2"))
    assert OFFERED["fgm"].norms == ("l2",) and OFFERED["fgm"].weak


def test_bim_starts_at_the_clean_image_and_steps_by_an_eighth_of_eps(trained, points):
    x, y = points
    image, expected, done = x, x.clone(), right(trained, x) != y
    for step in range(11):
        now = (right(trained, image) != y) & ~done
        expected[now], done = image[now], done | now
        moved = fgsm(trained, image, y, eps=0.0125)  # a step of 1.25 eps / 10, then back into the threat model
        image = ThreatModel("linf", 0.1).project(moved, x) if step < 10 else image
    found = by_name("bim", trained, x, y)
    assert torch.allclose(found[done], expected[done], atol=1e-12) and 20 < done.sum() < len(x)
    assert torch.equal(right(trained, found) != y, done)


def test_rfgsm_is_one_step_of_five_quarters_from_a_random_start(trained, points):
    x, y = points
    found = by_name("rfgsm", trained, x, y)
    # A point that no start broke: at most 0.1 away, and where 1.25 eps lead out of any start, on the edge.
    standing = (right(trained, found) == y) & (right(trained, x) == y)
    assert standing.sum() > 10
    away = (found - x).abs()[standing]
    assert away.max() <= 0.1 + 1e-12 and 0.1 < float((away > 0.1 - 1e-9).double().mean()) < 0.999
    plain = pgd(trained, x, y, eps=0.1, steps=1, step_size=0.125, seed=3)
    assert torch.equal(found, plain)


def test_persistent_pgd_goes_on_after_success(trained, points):
    x, y = points
    first, further = (pgd(trained, x, y, eps=0.1, persist=persist, loss="margin") for persist in (False, True))
    losses = [margin(trained(moved), y).detach() for moved in (first, further)]
    broken = (right(trained, first) != y) & (right(trained, x) == y)
    assert broken.sum() > 20 and (losses[1] >= losses[0] - 1e-9)[broken].all()
    assert losses[1][broken].median() > 3 * losses[0][broken].median()
    assert (right(trained, further) != y)[broken].all()  # the margin is positive where the label has lost
    # Also where the model is wrong already: another one may not be.
    wrong = right(trained, x) != y
    assert torch.equal(first[wrong], x[wrong]) and (further != x)[wrong].flatten(1).any(1).all()


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda *p: minimal_eps(*p, tolerance=0), "tolerance must be above 0"),
        (lambda *p: minimal_eps(*p, high=0.1, tolerance=0.2), "at most high, 0.1"),
        (lambda *p: minimal_eps(*p, samples=torch.arange(3)), r"samples must be int64 of shape \(4,\)"),
        (lambda *p: minimal_eps(*p, high=2.0), "eps is in pixel units"),
        (lambda *p: minimal_eps(p[0], 3 * p[1], p[2]), "normalisation"),
        (lambda *p: deepfool(*p, eps=0.1, steps=0), "steps must be at least 1"),
        (lambda *p: deepfool(*p, eps=0.1, candidates=0), "candidates must be at least 1"),
        (lambda *p: deepfool(*p, eps=0.1, overshoot=0.0), "overshoot must be a positive"),
        (lambda *p: deepfool(p[0], p[1], p[2] + 10, eps=0.1), "do not fit a model of 10 classes"),
        (lambda *p: uniform_noise(*p, eps=0.1, draws=0), "draws must be at least 1"),
        (lambda *p: pgd(*p, eps=0.1, travel=0.0), "travel must be a positive"),
        (lambda *p: pgd(*p, eps=0.1, fgsm_start=True, clean_start=True), "choose one of them"),
    ],
)
def test_what_cannot_be_meant_is_refused(trained, points, call, says):
    with pytest.raises(UsageError, match=says):
        call(trained, *(part[:4] for part in points))
