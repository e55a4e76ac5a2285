"""The plugin keeps the laws of robustreg, and computes what its paper says."""

import numpy as np
import pytest
import torch
from robustreg_logit_squeezing import LogitSqueezing, regularizers, squared_norm

from robustreg import Objective, testing


@testing.parametrize(LogitSqueezing)
def test_it_keeps_the_laws(row: dict[str, str]) -> None:
    """Every law of `robustreg.testing` holds, or does not apply."""
    assert row["status"] != "failed", row["message"]


def test_it_is_offered() -> None:
    """The entry point's hook offers the class."""
    assert regularizers() == [LogitSqueezing]


def test_the_norm_is_that_of_numpy() -> None:
    """NumPy's norm of each row, squared and averaged, is the oracle."""
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(squared_norm(logits)) == pytest.approx(np.mean(np.linalg.norm(logits.numpy(), axis=1) ** 2))


def test_the_loss_grows_by_strength_times_the_norm() -> None:
    """The loss of the objective is the cross-entropy and the weighted norm."""
    model = torch.nn.Linear(3, 4)
    x, y = torch.rand(6, 3), torch.tensor([0, 1, 2, 3, 0, 1])
    loss, terms = Objective(model, [LogitSqueezing(0.3)])(x, y, 0)
    plain = torch.nn.functional.cross_entropy(model(x), y)
    assert loss.item() == pytest.approx((plain + 0.3 * squared_norm(model(x))).item())
    assert set(terms) == {"loss", "logit_squeezing"}
