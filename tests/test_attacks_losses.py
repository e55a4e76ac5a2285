"""What attacks maximize: against the definitions."""

import pytest
import torch
from torch.nn import functional as F

from robustreg.attacks import margin, scale_free
from robustreg.attacks.losses import cross_entropy, find_loss
from robustreg.errors import UsageError


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("shift", [0.0, -100.0])
def test_losses_equal_their_definitions_also_for_negative_logits(classes, shift):
    torch.manual_seed(classes)
    logits, labels = torch.randn(20, classes, dtype=torch.float64) * 3 + shift, torch.randint(classes, (20,))
    for row, label, free, gap in zip(logits, labels, scale_free(logits, labels), margin(logits, labels), strict=True):
        others = torch.cat((row[:label], row[label + 1 :]))
        assert torch.isclose(free, others.exp().sum().log() - row[label])
        assert gap == others.max() - row[label]
    softplus = F.softplus(scale_free(logits, labels))
    assert torch.allclose(softplus, F.cross_entropy(logits, labels, reduction="none"))
    assert torch.equal((margin(logits, labels) > 0), logits.argmax(-1) != labels)


def test_the_scale_free_loss_keeps_its_gradient_where_cross_entropy_loses_it():
    logits = torch.tensor([[200.0, 0.0, -20.0]], requires_grad=True)
    label = torch.tensor([0])
    (lost,) = torch.autograd.grad(cross_entropy(logits, label).sum(), logits)
    (kept,) = torch.autograd.grad(scale_free(logits, label).sum(), logits)
    assert (lost == 0).all()
    assert torch.allclose(kept, torch.tensor([[-1.0, 1.0, 0.0]]), atol=1e-6)


def test_a_loss_is_found_by_name_and_a_function_is_taken_as_it_is():
    assert find_loss("margin") is margin
    assert find_loss(torch.dot) is torch.dot
    with pytest.raises(UsageError, match="Did you mean 'margin'"):
        find_loss("margn")
