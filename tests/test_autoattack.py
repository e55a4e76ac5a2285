"""The ensemble: the union of its members, against the reference library, and for any number of classes."""

import copy

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import robustreg as rr
from robustreg.attacks import apgd, apgd_targeted, attacks, autoattack, evaluate_attacks, fgsm, protocol_attacks, square
from robustreg.attacks.passes import Passes, counting
from robustreg.errors import UsageError
from robustreg.plugins import discover
from robustreg.resolve import attack_of
from robustreg.spec import parse_term
from robustreg.threat import ThreatModel

EPS = 0.1


def digits():
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    return x[order], torch.tensor(found.target)[order]


X, Y = digits()
POINTS = X[797:], Y[797:]  # a thousand that no model was trained on
SOME = POINTS[0][:150], POINTS[1][:150]


def trained(adversarially=False, classes=10):
    torch.manual_seed(1)
    model, labels = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, classes)), Y % classes
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    for _ in range(20):
        for at in torch.randperm(797).split(50):
            x = fgsm(model, X[at], labels[at], eps=EPS) if adversarially else X[at]
            optimizer.zero_grad()
            F.cross_entropy(model(x), labels[at]).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def plain():
    return trained()


@pytest.fixture(scope="module")
def exact(plain):
    return copy.deepcopy(plain).double()


def right(model, x, y):
    with torch.no_grad():
        return model(x).argmax(-1) == y


def accuracy(model, x, y):
    return float(right(model, x, y).double().mean())


@pytest.mark.slow
@pytest.mark.parametrize("adversarially", [False, True], ids=["plain", "fgsm-trained"])
def test_the_ensemble_is_no_weaker_than_the_reference_of_the_same_members(plain, adversarially):
    model = trained(True) if adversarially else plain
    theirs = pytest.importorskip("pyautoattack").AutoAttack(
        model, eps=EPS, version="custom", attacks=["apgd-ce", "apgd-t", "square"], seed=0
    )
    x, y = (part[:500] for part in POINTS)
    moved, _ = theirs.run_standard_evaluation(x, y, batch_size=500)
    ours = autoattack(model, x, y, eps=EPS)
    assert ThreatModel("linf", EPS).contains(ours, x).all()
    assert accuracy(model, ours, y) <= accuracy(model, moved, y) + 0.005
    assert 0.3 < accuracy(model, ours, y) < accuracy(model, x, y) - 0.2


@pytest.mark.parametrize(("norm", "eps"), [("linf", EPS), ("l2", 0.5)])
def test_what_the_ensemble_breaks_is_what_any_member_breaks(exact, norm, eps):
    x, y = SOME[0].double(), SOME[1]
    settings = {"eps": eps, "norm": norm, "seed": 4}
    members = (
        apgd(exact, x, y, steps=50, **settings),
        apgd_targeted(exact, x, y, steps=50, targets=3, **settings),
        square(exact, x, y, queries=500, **settings),
    )
    stands = torch.stack([right(exact, moved, y) for moved in members])
    found = autoattack(exact, x, y, version="fast", **settings)
    assert torch.equal(right(exact, found, y), stands.all(0))
    assert ThreatModel(norm, eps).contains(found, x).all()
    # The image is that of the first member that broke it, and of the first member where none did.
    for at, column in enumerate(stands.T.tolist()):
        first = column.index(False) if False in column else 0
        assert torch.allclose(found[at], members[first][at], atol=1e-9)


class Stairs(nn.Module):
    """A model that hides its gradients: it sees its input in steps of 1/50."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x * 50).round() / 50)


def test_hidden_gradients_do_not_stop_the_ensemble(plain):
    hidden = Stairs(plain)
    blind = accuracy(hidden, apgd(hidden, *SOME, eps=0.15), SOME[1])
    assert accuracy(hidden, autoattack(hidden, *SOME, eps=0.15, version="fast"), SOME[1]) < blind - 0.2


def test_only_images_that_still_stand_go_on(plain):
    y = SOME[1]
    count = Passes()
    with counting(plain, count):
        autoattack(plain, *SOME, eps=EPS, version="fast")
    stands = float(right(plain, apgd(plain, *SOME, eps=EPS, steps=50), y).sum())
    assert 0.2 * len(y) < stands < 0.8 * len(y)
    first = Passes()
    with counting(plain, first):
        apgd(plain, *SOME, eps=EPS, steps=50)
    later = count.backward - first.backward
    assert 0.9 * 150 * stands <= later <= 150 * stands  # 3 targets of 50 steps
    assert count.forward <= first.forward + (153 + 501 + 3) * stands + 2 * len(y)


def test_nothing_is_done_where_nothing_stands(plain):
    x, y = SOME
    wrong = (plain(x).argmax(-1) + 1) % 10
    count = Passes()
    with counting(plain, count):
        assert torch.equal(autoattack(plain, x, wrong, eps=EPS), x)
    assert (count.forward, count.backward) == (len(y), 0)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes_are_attacked_as_well(classes):
    model, (x, y) = trained(classes=classes), SOME
    y = y % classes
    left = accuracy(model, autoattack(model, x, y, eps=EPS, version="fast"), y)
    assert left <= accuracy(model, apgd(model, x, y, eps=EPS, steps=50), y) < accuracy(model, x, y)


def test_the_fast_version_costs_what_it_says_and_breaks_nearly_as_much(plain):
    left, cost = {}, {}
    for version in ("fast", "standard"):
        cost[version] = Passes()
        with counting(plain, cost[version]):
            left[version] = accuracy(plain, autoattack(plain, *SOME, eps=EPS, version=version), SOME[1])
    assert 0 <= left["fast"] - left["standard"] <= 0.02
    assert cost["fast"].forward < 0.15 * cost["standard"].forward
    assert cost["fast"].backward < 0.25 * cost["standard"].backward


def test_what_happens_to_an_image_is_the_same_in_any_batch(exact):
    x, y, settings = SOME[0].double(), SOME[1], {"eps": EPS, "version": "fast", "seed": 2}
    whole = autoattack(exact, x, y, **settings)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(1))
    assert torch.equal(autoattack(exact, x[order], y[order], samples=order, **settings), whole[order])
    assert torch.equal(autoattack(exact, x, y, batch_size=17, **settings), whole)


class Fussy(nn.Module):
    """A model with everything an attack could disturb: batch statistics, dropout, a counter, random numbers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5))
        self.last = nn.Linear(16, 10)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        torch.rand(3)
        return self.last(self.first(x))


def test_the_call_of_the_surface_leaves_no_trace():
    torch.manual_seed(0)
    model, (x, y) = Fussy().train(), (part[:12] for part in POINTS)
    F.cross_entropy(model(x), y).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    state, random, points = copy.deepcopy(model.state_dict()), torch.get_rng_state(), x.clone()
    moved = rr.attacks.autoattack(model, x, y, eps=8 / 255)
    assert moved.shape == x.shape and moved.dtype == x.dtype and not moved.requires_grad
    assert torch.equal(x, points) and torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and torch.equal(p.grad, gradients[name]) for name, p in model.named_parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(autoattack(model, x, y, eps=0), x)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"version": "fats"}, "Did you mean 'fast'"),
        ({"norm": "l1"}, "norm must be one of"),
        ({"eps": 8}, "8/255"),
        ({"batch_size": 0}, "batch size must be at least 1"),
        ({"x": X[:9] * 2 - 1}, "normalisation inside the model"),
        ({"y": Y[:9] + 10}, "do not fit a model of 10 classes"),
        ({"samples": torch.arange(3)}, "samples must be int64"),
    ],
)
def test_what_cannot_be_attacked_is_refused(plain, settings, says):
    with pytest.raises(UsageError, match=says):
        autoattack(**{"model": plain, "x": X[:9], "y": Y[:9], "eps": EPS, **settings})


# --- in the catalogue and the protocols ---------------------------------------------------------------------------


def test_the_strong_attacks_are_offered_and_none_is_weak():
    offered = {attack.name: attack for attack in attacks()}
    for name in ("apgd", "apgd_targeted", "square", "autoattack"):
        assert offered[name].norms == ("linf", "l2") and not offered[name].weak


def test_the_paper_protocol_adds_them_to_the_standard_one():
    standard, paper = protocol_attacks("standard"), protocol_attacks("paper")
    assert paper[: len(standard)] == standard
    assert [attack.name for attack in paper[len(standard) :]] == ["apgd", "apgd_targeted", "square"]


def test_a_typed_attack_reaches_its_function(plain):
    attack = attack_of(parse_term("square:queries=20"), discover([]))
    moved = attack(plain, *SOME, eps=EPS, norm="linf", seed=1, samples=torch.arange(150))
    assert torch.equal(moved, square(plain, *SOME, eps=EPS, queries=20, seed=1))


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.5)])
def test_the_paper_protocol_runs_and_no_attack_of_it_beats_the_worst_case(classes, norm, eps):
    model, y = trained(classes=classes), SOME[1] % classes
    report = evaluate_attacks(model, SOME[0], y, protocol_attacks("paper"), (), headline=eps, norm=norm)
    worst = report.robust_accuracy[eps]
    assert worst == min(worst, *report.attack_accuracy.values()) < report.clean_accuracy
    # Evaluated beside it, the ensemble finds next to nothing more.
    found = accuracy(model, autoattack(model, SOME[0], y, eps=eps, norm=norm, version="fast"), y)
    assert abs(found - worst) <= 0.02
    cost = report.passes["square"]
    assert cost.backward == 0 and cost.forward <= 1003
