"""The plugin keeps the laws of robustreg, and computes what its paper says."""

import numpy as np
import pytest
import torch
from robustreg_confidence_penalty import ConfidencePenalty, entropy, regularizers
from scipy import stats

from robustreg import Objective, testing


@pytest.mark.parametrize("row", testing.check(ConfidencePenalty), ids=lambda row: row["check"])
def test_it_keeps_the_laws(row: dict[str, str]) -> None:
    """Every law of `robustreg.testing` holds, or does not apply."""
    assert row["status"] != "failed", row["message"]


def test_it_is_offered() -> None:
    """The entry point's hook offers the class."""
    assert regularizers() == [ConfidencePenalty]


def test_entropy_is_that_of_the_softmax() -> None:
    """SciPy's entropy of the softmax is the oracle."""
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(entropy(logits)) == pytest.approx(np.mean(stats.entropy(logits.softmax(-1).numpy(), axis=1)))


def test_the_loss_falls_by_strength_times_entropy() -> None:
    """The loss of the objective is the cross-entropy less the weighted entropy."""
    model = torch.nn.Linear(3, 4)
    x, y = torch.rand(6, 3), torch.tensor([0, 1, 2, 3, 0, 1])
    loss, terms = Objective(model, [ConfidencePenalty(0.3)])(x, y, 0)
    plain = torch.nn.functional.cross_entropy(model(x), y)
    assert loss.item() == pytest.approx((plain - 0.3 * entropy(model(x))).item())
    assert set(terms) == {"loss", "confidence_penalty"}
