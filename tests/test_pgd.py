"""PGD: against a plain loop, another library, and FGSM; and the same for a sample in any batch."""

import copy

import foolbox
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import robustreg as rr
from robustreg.attacks import fgsm, pgd, scale_free
from robustreg.errors import UsageError


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    train = rr.load_data("digits", seed=0).train
    for epoch in range(20):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch))
        for x, y in train.batches(order, 50):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def exact(trained):
    """The trained model in float64."""
    return copy.deepcopy(trained).double()


@pytest.fixture(scope="module")
def test_points():
    return next(rr.load_data("digits", seed=0).test.batches(None, 300))


def accuracy(model, x, y):
    with torch.no_grad():
        return float((model(x).argmax(-1) == y).double().mean())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["scale_free", "margin"])
def test_pgd_from_the_fgsm_image_breaks_whatever_fgsm_breaks(trained, test_points, norm, loss):
    points, labels = test_points
    eps = 0.1 if norm == "linf" else 0.5
    fast = trained(fgsm(trained, points, labels, eps=eps, norm=norm)).argmax(-1) == labels
    moved = pgd(trained, points, labels, eps=eps, norm=norm, loss=loss, steps=5, fgsm_start=True)
    slow = trained(moved).argmax(-1) == labels
    clean = trained(points).argmax(-1) == labels
    assert not (slow & clean & ~fast).any()
    assert slow.sum() < fast.sum()


def test_pgd_agrees_with_foolbox_on_how_many_it_breaks(trained, test_points):
    points, labels = test_points
    ours = accuracy(trained, pgd(trained, points, labels, eps=0.1, steps=40), labels)
    attack = foolbox.attacks.LinfPGD(steps=40, rel_stepsize=2.5 / 40, random_start=True)
    torch.manual_seed(0)
    wrapped = foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu")
    _, _, broken = attack(wrapped, points, labels, epsilons=0.1)
    assert abs(ours - float((~broken).double().mean())) <= 0.02


def test_more_restarts_break_no_less(trained, test_points):
    points, labels = test_points
    one, five = (pgd(trained, points, labels, eps=0.1, steps=3, restarts=count) for count in (1, 5))
    left = [trained(moved).argmax(-1) == labels for moved in (one, five)]
    assert not (left[1] & ~left[0]).any()
    assert left[1].sum() < left[0].sum()


def test_pgd_equals_a_plain_loop_that_keeps_every_iterate(exact, test_points):
    points, labels = (part[:40] for part in test_points)
    model, eps, steps = exact, 0.1, 6
    points = points.double()
    ours = pgd(model, points, labels, eps=eps, steps=steps, fgsm_start=True)
    expected = points.clone()
    for index in range(len(points)):
        one, label = points[index : index + 1], labels[index : index + 1]
        if int(model(one).argmax()) != int(label):
            continue

        def gradient(image, label=label):
            image = image.clone().requires_grad_()
            return torch.autograd.grad(scale_free(model(image), label).sum(), image)[0]

        iterates = [(one + eps * gradient(one).sign()).clamp(0, 1)]
        for _ in range(steps):
            moved = iterates[-1] + 2.5 * eps / steps * gradient(iterates[-1]).sign()
            iterates.append(torch.min(torch.max(moved, one - eps), one + eps).clamp(0, 1))
        broken = [image for image in iterates if int(model(image).argmax()) != int(label)]
        losses = [float(scale_free(model(image), label).detach()) for image in iterates]
        expected[index] = (broken or [iterates[losses.index(max(losses))]])[0][0]
    assert torch.allclose(ours, expected, atol=1e-12)


def test_pgd_returns_what_broke_a_point_also_when_the_loss_does_not_see_it(trained, test_points):
    points, labels = test_points
    blind = pgd(trained, points, labels, eps=0.3, steps=1, restarts=20, loss=lambda logits, y: 0 * logits.sum(-1))
    one = pgd(trained, points, labels, eps=0.3, steps=1, restarts=1, loss=lambda logits, y: 0 * logits.sum(-1))
    assert accuracy(trained, blind, labels) < accuracy(trained, one, labels) < accuracy(trained, points, labels)


def test_pgd_leaves_points_that_are_wrong_already_and_fgsm_does_not(trained, test_points):
    points, labels = test_points
    wrong = trained(points).argmax(-1) != labels
    assert wrong.any()
    assert torch.equal(pgd(trained, points, labels, eps=0.1)[wrong], points[wrong])
    assert not torch.equal(fgsm(trained, points, labels, eps=0.1)[wrong], points[wrong])


@pytest.mark.parametrize("settings", [{}, {"restarts": 3, "fgsm_start": True}, {"loss": "margin"}])
def test_pgd_does_to_a_sample_the_same_in_any_batch(exact, test_points, settings):
    points, labels = test_points
    model, points = exact, points.double()
    settings = {"eps": 0.1, "steps": 10, "seed": 7, **settings}
    whole = pgd(model, points, labels, **settings)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    permuted = pgd(model, points[order], labels[order], samples=order, **settings)
    assert torch.equal(permuted, whole[order])
    assert torch.equal(pgd(model, points, labels, batch_size=37, **settings), whole)
    some = order[:11]
    assert torch.equal(pgd(model, points[some], labels[some], samples=some, **settings), whole[some])
    other = {**settings, "seed": 8}
    assert not torch.equal(pgd(model, points, labels, **other), whole)


@pytest.mark.parametrize("setting", ["steps", "restarts", "step_size"])
def test_pgd_refuses_settings_below_their_range(trained, test_points, setting):
    with pytest.raises(UsageError, match=setting):
        pgd(trained, *test_points, eps=0.1, **{setting: 0})
