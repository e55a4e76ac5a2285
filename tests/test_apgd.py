"""Auto-PGD: against the paper's algorithm in plain loops, and against the reference library."""

import copy
import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from robustreg.attacks import apgd, apgd_targeted, fgsm, input_gradient, scale_free
from robustreg.attacks.ascent import checkpoints
from robustreg.attacks.losses import dlr, dlr_targeted, likeliest_wrong, margin_targeted
from robustreg.attacks.passes import Passes, counting
from robustreg.errors import UsageError
from robustreg.noise import Rng, fold, seed_key
from robustreg.threat import ThreatModel

EPS = 0.1


def digits():
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    return x[order], torch.tensor(found.target)[order]


X, Y = digits()
POINTS = X[797:], Y[797:]  # a thousand that no model was trained on


def network(classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, classes))


def trained(adversarially, classes=10):
    torch.manual_seed(1)
    model, labels = network(classes), Y % classes
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
    return trained(False)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "fgsm-trained"])
def model(request, plain):
    return trained(True) if request.param else plain


def right(model, x, y):
    with torch.no_grad():
        return model(x).argmax(-1) == y


def accuracy(model, x, y):
    return float(right(model, x, y).double().mean())


def mean(values):
    values = list(values)
    return sum(values) / len(values)


# --- the losses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [3, 4, 10])
def test_dlr_equals_its_definition_and_neither_shift_nor_scale_changes_it(classes):
    torch.manual_seed(classes)
    logits, labels = 3 * torch.randn(30, classes, dtype=torch.float64), torch.randint(classes, (30,))
    found = dlr(logits, labels)
    for row, label, value in zip(logits.tolist(), labels.tolist(), found.tolist(), strict=True):
        ordered = sorted(row, reverse=True)
        others = max(z for k, z in enumerate(row) if k != label)
        assert value == pytest.approx((others - row[label]) / (ordered[0] - ordered[2]), abs=1e-9)
    assert torch.equal(found > 0, logits.argmax(-1) != labels)
    assert torch.allclose(dlr(20 * logits, labels), found)
    assert torch.allclose(dlr(logits - 1000, labels), found)


def test_targeted_losses_equal_their_definitions():
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(30, 6, dtype=torch.float64), torch.randint(6, (30,))
    pairs = torch.stack((labels, (labels + torch.randint(1, 6, (30,))) % 6), 1)
    for row, (label, target), one, gap in zip(
        logits.tolist(),
        pairs.tolist(),
        dlr_targeted(logits, pairs).tolist(),
        margin_targeted(logits, pairs).tolist(),
        strict=True,
    ):
        first, _, third, fourth, *_ = sorted(row, reverse=True)
        assert gap == row[target] - row[label]
        assert one == pytest.approx(gap / (first - (third + fourth) / 2), abs=1e-9)


def test_the_likeliest_wrong_classes_come_in_order_and_leave_out_the_label():
    logits = torch.tensor([[4.0, 3, 2, 1], [1, 4, 2, 3]])
    assert likeliest_wrong(logits, torch.tensor([0, 3]), 2).tolist() == [[1, 2], [1, 2]]
    assert likeliest_wrong(logits, torch.tensor([0, 3]), 9).tolist() == [[1, 2, 3], [1, 2, 0]]


def test_dlr_of_equal_logits_is_finite():
    logits, label = torch.zeros(1, 4, requires_grad=True), torch.tensor([0])
    (gradient,) = torch.autograd.grad(dlr(logits, label).sum(), logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("attack", "loss", "classes", "says"),
    [(apgd, "dlr", 2, "dlr loss needs 3 or more"), (apgd_targeted, "dlr", 3, "targeted dlr loss needs 4 or more")],
)
def test_dlr_of_too_few_classes_is_refused_with_what_to_use(attack, loss, classes, says):
    with pytest.raises(UsageError, match=says) as caught:
        attack(network(classes), X[:9], Y[:9] % classes, eps=EPS, loss=loss)
    assert "use loss 'margin'" in str(caught.value)


# --- the algorithm ------------------------------------------------------------------------------------------------


def test_checkpoints_are_those_of_the_paper():
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(1) == () and checkpoints(2) == (1,)
    for steps in (3, 7, 50, 333):
        p = [0.0, 0.22]
        while p[-1] < 1:
            p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
        expected = sorted({math.ceil(round(share * steps, 6)) for share in p[1:]})
        assert list(checkpoints(steps)) == [at for at in expected if at < steps]


def of_the_paper(model, x, label, start, threat, loss, steps, rho):
    """Auto-PGD for one image, as the paper writes it: every iterate with its loss, in lists. Stops when it is wrong."""
    images, losses, size, halved = [start], [], 2 * threat.eps, True
    wrong = []

    def look(image):
        logits, value, gradient = input_gradient(model, image, label, loss)
        losses.append(float(value))
        wrong.append(int(logits.argmax()) != int(label))
        return gradient

    gradients = [look(start)]
    here, slope, before = start, gradients[0], start
    best = 0
    last_check, best_then, rises, level = 0, 0, 0, losses[0]
    for step in range(1, steps + 1):
        if wrong[-1]:
            return images[-1]
        ascended = threat.project(threat.step(here, slope, size), x)
        share = 1.0 if step == 1 else 0.75
        image = threat.project(here + share * (ascended - here) + (1 - share) * (here - before), x)
        gradients.append(look(image))
        images.append(image)
        rises += losses[-1] > level + 1e-12
        if losses[-1] > losses[best] + 1e-12:
            best = step
        before, here, slope, level = here, image, gradients[-1], losses[-1]
        if step in checkpoints(steps):
            stuck = not halved and best == best_then
            halved = rises < rho * (step - last_check) or stuck
            if halved:
                size, here, slope, level = size / 2, images[best], gradients[best], losses[best]
            last_check, best_then, rises = step, best, 0
    return images[-1] if wrong[-1] else images[best]


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.08), ("l2", 0.4)])
@pytest.mark.parametrize("loss", [scale_free, dlr])
def test_apgd_equals_the_algorithm_of_the_paper_image_by_image(plain, norm, eps, loss):
    exact, (x, y) = copy.deepcopy(plain).double(), (part[:60] for part in POINTS)
    x, threat = x.double(), ThreatModel(norm, eps)
    ours = apgd(exact, x, y, eps=eps, norm=norm, loss=loss, steps=40, seed=5)
    starts = threat.start(x, Rng(fold(fold(seed_key(5), "apgd"), 0)), torch.arange(60))
    clean, expected = right(exact, x, y), x.clone()
    for at in clean.nonzero().flatten().split(1):
        expected[at] = of_the_paper(exact, x[at], y[at], starts[at], threat, loss, 40, 0.75)
    assert 5 < int((clean & ~right(exact, ours, y)).sum()) < 55
    assert torch.allclose(ours, expected, atol=1e-9)


def reference(model, x, y, loss, seed):
    base = pytest.importorskip("pyautoattack.autopgd_base")
    settings = {"n_iter": 100, "norm": "Linf", "eps": EPS, "seed": seed, "device": "cpu"}
    if loss == "targeted":
        return base.APGDAttack_targeted(model, **settings).perturb(x, y)
    return base.APGDAttack(model, loss=loss, **settings).perturb(x, y)


OURS = {
    "ce": apgd,
    "dlr": lambda *args, **settings: apgd(*args, loss="dlr", **settings),
    "targeted": apgd_targeted,
}


@pytest.mark.parametrize(
    ("loss", "seeds"), [("ce", 2), ("dlr", 3), pytest.param("targeted", 1, marks=pytest.mark.slow)]
)
def test_apgd_leaves_the_accuracy_that_the_reference_leaves(model, loss, seeds):
    ours = mean(accuracy(model, OURS[loss](model, *POINTS, eps=EPS, seed=seed), POINTS[1]) for seed in range(seeds))
    theirs = mean(accuracy(model, reference(model, *POINTS, loss, seed), POINTS[1]) for seed in range(seeds))
    assert abs(ours - theirs) <= 0.005
    assert 0.4 < ours < accuracy(model, *POINTS) - 0.2


def test_the_targeted_attack_breaks_what_the_untargeted_one_leaves(model):
    x, y = (part[:500] for part in POINTS)
    one, nine = (accuracy(model, attack(model, x, y, eps=EPS), y) for attack in (apgd, apgd_targeted))
    assert nine < one


class Scaled(nn.Module):
    def __init__(self, model, scale=1.0, shift=0.0):
        super().__init__()
        self.model, self.scale, self.shift = model, scale, shift

    def forward(self, x):
        return self.scale * self.model(x) + self.shift


def test_saturated_logits_hide_nothing_from_apgd_as_they_do_from_cross_entropy(plain):
    x, y = (part[:300] for part in POINTS)
    found = {
        (name, scale): accuracy(plain, OURS[name](Scaled(plain, scale), x, y, eps=EPS), y)
        for name in OURS
        for scale in (1, 20)
    }
    for name in OURS:
        assert abs(found[name, 20] - found[name, 1]) <= 0.02, name
    blind = accuracy(plain, apgd(Scaled(plain, 20), x, y, eps=EPS, loss="cross_entropy"), y)
    assert blind > found["ce", 20] + 0.1


@pytest.mark.parametrize("name", OURS)
def test_logits_all_far_below_zero_are_attacked_as_well(plain, name):
    x, y = (part[:300] for part in POINTS)
    shifted = Scaled(plain, shift=-100.0)
    assert (shifted(x) < 0).all()
    both = [accuracy(plain, OURS[name](model, x, y, eps=EPS, steps=50), y) for model in (plain, shifted)]
    assert abs(both[0] - both[1]) <= 0.01


@pytest.mark.parametrize("name", OURS)
def test_what_happens_to_an_image_is_the_same_in_any_batch(plain, name):
    exact, (x, y) = copy.deepcopy(plain).double(), (part[:200] for part in POINTS)
    x, settings = x.double(), {"eps": EPS, "steps": 25, "seed": 3}
    whole = OURS[name](exact, x, y, **settings)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    assert torch.equal(OURS[name](exact, x[order], y[order], samples=order, **settings), whole[order])
    assert torch.equal(OURS[name](exact, x, y, batch_size=23, **settings), whole)
    assert not torch.equal(OURS[name](exact, x, y, **{**settings, "seed": 4}), whole)


# --- the cost -----------------------------------------------------------------------------------------------------


class Unbreakable(nn.Module):
    """Class 0 whatever comes, with a slope."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, x):
        one = x.flatten(1).mean(1, keepdim=True)
        return torch.cat((100 + one, -one.expand(-1, self.classes - 1)), 1)


def passes(attack, model, x, y, **settings):
    count = Passes()
    with counting(model, count):
        attack(model, x, y, eps=EPS, **settings)
    return count.forward / len(x), count.backward / len(x)


def test_an_image_that_withstands_costs_what_the_docstrings_say():
    x, y = X[:7], torch.zeros(7, dtype=torch.int64)
    assert passes(apgd, Unbreakable(4), x, y, steps=10) == (12, 10)
    assert passes(apgd, Unbreakable(4), x, y, steps=10, restarts=3) == (34, 30)
    assert passes(apgd_targeted, Unbreakable(10), x, y, steps=10) == (100, 90)
    assert passes(apgd_targeted, Unbreakable(10), x, y, steps=10, targets=2) == (23, 20)
    for classes in (2, 3):  # no more targets than there are wrong classes
        assert passes(apgd_targeted, Unbreakable(classes), x, y, steps=10) == (
            1 + 11 * (classes - 1),
            10 * (classes - 1),
        )


def test_a_broken_image_is_not_worked_on(plain):
    x, y = POINTS
    forward, backward = passes(apgd, plain, x, y, norm="linf")
    left = accuracy(plain, apgd(plain, x, y, eps=EPS), y)
    assert left * 100 <= backward <= left * 100 + 12 and forward <= backward + 2


@pytest.mark.parametrize("restarts", [1, 4])
def test_more_restarts_break_no_less(plain, restarts):
    x, y = (part[:300] for part in POINTS)
    few = right(plain, apgd(plain, x, y, eps=EPS, steps=8), y)
    many = right(plain, apgd(plain, x, y, eps=EPS, steps=8, restarts=restarts), y)
    assert not (many & ~few).any()
    assert (few.sum() > many.sum()) == (restarts > 1)


@pytest.mark.parametrize(
    ("attack", "settings", "says"),
    [
        (apgd, {"steps": 0}, "steps must be at least 1"),
        (apgd, {"restarts": 0}, "restarts must be at least 1"),
        (apgd, {"rho": 1.5}, r"rho must lie in \[0, 1\]"),
        (apgd, {"loss": "ce"}, "loss must be one of"),
        (apgd_targeted, {"targets": 0}, "targets must be at least 1"),
        (apgd_targeted, {"loss": "scale_free"}, "loss must be one of dlr, margin"),
        (apgd_targeted, {"norm": "l1"}, "norm must be one of"),
        (apgd_targeted, {"y": Y[:9] + 10}, "do not fit a model of 10 classes"),
    ],
)
def test_settings_that_cannot_be_are_refused(plain, attack, settings, says):
    with pytest.raises(UsageError, match=says):
        attack(**{"model": plain, "x": X[:9], "y": Y[:9], "eps": EPS, **settings})
