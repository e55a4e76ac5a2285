"""Attacks on linear models, where the worst case is a closed form: eps times the dual norm of the weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustreg.attacks import evaluate_attacks, fgsm, pgd, protocol_attacks


def linear(classes=2, inputs=12):
    torch.manual_seed(3)
    return nn.Linear(inputs, classes).double()


def grey(count, inputs=12, spread=0.2):
    torch.manual_seed(4)
    return 0.5 + spread * (2 * torch.rand(count, inputs, dtype=torch.float64) - 1)


@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_attacks_on_a_linear_binary_model_break_exactly_what_the_dual_norm_says(attack, norm, dual):
    model, points = linear(), grey(400)
    labels = torch.randint(2, (400,), generator=torch.Generator().manual_seed(5))
    eps = 0.1 if norm == "linf" else 0.25
    weight = (model.weight[1] - model.weight[0]).detach()
    gap = (2 * labels - 1) * (points @ weight + (model.bias[1] - model.bias[0]).detach())
    robust = gap > eps * weight.norm(p=dual)  # the box is further away than eps
    moved = attack(model, points, labels, eps=eps, norm=norm)
    # From a start on the far side of the ball, 40 small l2 steps come within 4 % of the best image.
    reach = eps * weight.norm(p=dual)
    decided = (gap / reach - 1).abs() > (0.04 if (norm, attack) == ("l2", pgd) else 1e-9)
    assert decided.sum() >= 380
    assert torch.equal((model(moved).argmax(-1) == labels)[decided], robust[decided])
    assert 0.05 < robust.double().mean() < (gap > 0).double().mean() - 0.05


def test_fgsm_and_pgd_use_the_box_as_a_linear_model_says():
    model, points = linear(), grey(400, spread=0.5)
    labels = torch.zeros(400, dtype=torch.int64)
    weight = (model.weight[1] - model.weight[0]).detach()
    reach = torch.where(weight > 0, (points + 0.2).clamp(max=1), (points - 0.2).clamp(min=0))
    robust = reach @ weight + (model.bias[1] - model.bias[0]).detach() <= 0
    for attack in (fgsm, pgd):
        assert torch.equal(model(attack(model, points, labels, eps=0.2)).argmax(-1) == labels, robust)
    assert 0 < robust.sum() < 400


def test_the_loss_of_a_logistic_regression_under_fgsm_is_goodfellows_identity():
    # Goodfellow et al, Explaining and harnessing adversarial examples, 2015, section 5:
    # E softplus(-y f(x)) under attack is E softplus(eps |w|_1 - y f(x)), here for f = z_1 - z_0 and y = -1 or 1.
    model, points, eps = linear(), grey(300), 0.1
    labels = torch.randint(2, (300,), generator=torch.Generator().manual_seed(6))
    weight = (model.weight[1] - model.weight[0]).detach()
    f = points @ weight + (model.bias[1] - model.bias[0]).detach()
    expected = F.softplus(eps * weight.abs().sum() - (2 * labels - 1) * f)
    moved = fgsm(model, points, labels, eps=eps)
    with torch.no_grad():
        clean, found = (F.cross_entropy(model(images), labels, reduction="none") for images in (points, moved))
    assert torch.allclose(found, expected, atol=1e-6, rtol=0)
    assert float((expected - clean).min()) > 0.01


@pytest.mark.parametrize("protocol", ["quick", "standard"])
def test_the_robust_curve_of_a_linear_model_is_its_closed_form_at_every_eps(protocol):
    model, points = linear(), grey(500)
    labels = torch.randint(2, (500,), generator=torch.Generator().manual_seed(7))
    weight = (model.weight[1] - model.weight[0]).detach()
    gap = (2 * labels - 1) * (points @ weight + (model.bias[1] - model.bias[0]).detach())
    grid = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1)
    report = evaluate_attacks(model, points, labels, protocol_attacks(protocol), grid, headline=0.1)
    expected = {eps: float((gap > eps * weight.abs().sum()).double().mean()) for eps in grid}
    assert report.robust_accuracy == pytest.approx(expected, abs=1e-9)
    assert report.fgsm_accuracy == pytest.approx(expected, abs=1e-9)  # FGSM is exact here
    assert len(set(expected.values())) == len(grid)
