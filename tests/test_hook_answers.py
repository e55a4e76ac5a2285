"""What a batch or a schedule may not be: said with the name of the regularizer, in a training or by the laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from robustreg import testing
from robustreg.errors import PluginError
from robustreg.hookspecs import hookimpl
from robustreg.objective import Objective
from robustreg.regularizer import Regularizer
from robustreg.testing.bench import Bench
from robustreg.testing.runner import judge

X, Y = torch.rand(6, 1, 3, 3), torch.arange(6) % 4


class Changing(Regularizer):
    """Does to each batch what it is told."""

    name = "changing"

    def __init__(self, change: Callable[[Tensor, Tensor], Any] | None = None, rate: float = 1.0) -> None:
        super().__init__()
        self.change, self.rate = change or (lambda x, y: (x, y)), rate

    @hookimpl
    def batch(self, x: Tensor, y: Tensor) -> Any:
        """Return the changed batch."""
        return self.change(x, y)

    @hookimpl
    def learning_rate(self) -> float:
        """Return the factor."""
        return self.rate


def objective(*arguments: Any) -> Objective:
    return Objective(nn.Sequential(nn.Flatten(), nn.Linear(9, 4)), [Changing(*arguments)])


UNFIT = {
    "cropped": (lambda x, y: (x[:, :, 1:], y), r"images of shape \(batch, 1, 3, 3\).*got float32 \(6, 1, 2, 3\)"),
    "float64": (lambda x, y: (x.double(), y), "and float32, got float64"),
    "labels": (lambda x, y: (x, y.argmax(1)), r"y of shape \(batch, 4\), got int64 \(6,\)"),
    "half the images": (lambda x, y: (x[::2], y), "as many images as labels, and at least one, got 3 and 6"),
    "none": (lambda x, y: (x[:0], y[:0]), "at least one, got 0 and 0"),
    "no pair": (lambda x, y: x, r"the pair \(x, y\) or None, got float32 \(6, 1, 3, 3\)$"),
    "three": (lambda x, y: (x, y, y), "got a tuple of 3$"),
    "a list": (lambda x, y: [x, y], r"got a list of float32 \(6, 1, 3, 3\) and float32 \(6, 4\)$"),
}


@pytest.mark.parametrize(("change", "says"), UNFIT.values(), ids=list(UNFIT))
def test_a_batch_of_another_form_is_an_error_of_the_plugin_that_gave_it(change: Any, says: str) -> None:
    with pytest.raises(PluginError, match=f"(?s)'changing'.*batch\\(\\) must return .*{says}") as raised:
        objective(change)(X, Y, 0)
    assert "tensor(" not in str(raised.value)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_batch_may_be_of_another_size(times: int) -> None:
    loss, _ = objective(lambda x, y: (x.repeat(times, 1, 1, 1)[: 2 * times], y.repeat(times, 1)[: 2 * times]))(X, Y, 0)
    assert loss.isfinite()


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
def test_a_learning_rate_that_is_no_number_is_an_error_of_the_plugin_that_gave_it(rate: float) -> None:
    with pytest.raises(PluginError, match=rf"'changing'.*learning_rate\(\) must return a finite factor, got {rate}"):
        objective(None, rate).learning_rate(0.5, 0.1)


class Enlarged(Regularizer):
    """Learns from every image twice."""

    name = "enlarged"

    @hookimpl
    def batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch."""
        return x.repeat(2, 1, 1, 1), y.repeat(2, 1)


class Negative(Regularizer):
    """Gives rows that add up to 1 and are no distributions."""

    name = "negative"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    @hookimpl
    def batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch."""
        return x, y * 1.5 - 0.125


def test_the_law_of_batches_looks_at_each_entry_and_not_at_how_many_there_are() -> None:
    assert judge("learns_from_images", Bench(Enlarged, {}))["status"] == "passed"
    row = judge("learns_from_images", Bench(Negative, {}))
    assert row["status"] == "failed"
    assert "smallest entry is -0.125" in row["message"]


class Nowhere(Regularizer):
    """Adds what is not a number, and edits nothing."""

    name = "nowhere"

    @hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        """Return the term."""
        return {"nowhere": logits.mean() * float("nan")}


def test_what_is_not_a_number_is_no_edit() -> None:
    rows = {row["check"]: row for row in testing.check(Nowhere)}
    assert rows["arguments_not_edited"]["status"] == "passed"
    assert rows["finite"]["status"] == "failed"
