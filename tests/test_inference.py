"""A network that is looked at is left as it was, whatever a forward pass does to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robustreg as rr
from robustreg.inference import logits, untraced
from robustreg.models import mlp

DIGITS = rr.load_data("digits", seed=0, train=60, val=20, test=20)


class Counting(nn.Module):
    """Counts the images it has seen, in a tensor that it replaces or writes on."""

    seen: Tensor

    def __init__(self, replaces: bool) -> None:
        super().__init__()
        self.net, self.replaces = mlp((1, 8, 8), 10), replaces
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("last", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.replaces:
            self.seen = self.seen + len(x)
        else:
            self.seen += len(x)
        self.last = x
        return self.net(x)


@pytest.mark.parametrize("replaces", [True, False], ids=["replaced", "written on"])
@pytest.mark.parametrize("made", [nullcontext, torch.inference_mode])
def test_buffers_are_what_and_where_they_were(replaces: bool, made: Callable[[], Any]) -> None:
    with made():
        model = Counting(replaces)
    seen = model.seen
    # What was made in inference mode can be asked only there.
    for mode in [torch.inference_mode] if seen.is_inference() else [nullcontext, torch.no_grad, torch.inference_mode]:
        with untraced(model, frozen=False), mode():
            model(torch.zeros(3, 1, 8, 8))
            assert float(model.seen) == 3
        assert model.seen is seen and float(seen) == 0 and model.last is None


@pytest.mark.parametrize("replaces", [True, False], ids=["replaced", "written on"])
def test_a_network_that_counts_is_trained_measured_and_attacked(replaces: bool) -> None:
    run = rr.train(Counting(replaces), [], DIGITS, epochs=2)
    assert run.status == "ok" and float(run.model.seen) == 2 * 60  # of the training alone
    assert 0 <= rr.evaluate(run.model, DIGITS)["clean_accuracy"] <= 1
    x, y = next(DIGITS.test.batches(None, 20))
    rr.attacks.pgd(run.model, x, y, eps=0.1, steps=2)
    assert logits(run.model, DIGITS.test).shape == (20, 10)
    assert float(run.model.seen) == 2 * 60
