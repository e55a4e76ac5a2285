"""What cannot be trained is refused in a user's words, and asking leaves no trace in what can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustreg.cohort import train_many
from robustreg.data.split import Split, Splits
from robustreg.errors import UsageError
from robustreg.objective import Objective
from robustreg.recipe import Recipe
from robustreg.training import train

CLASSES = tuple("abcdefghij")


def part(count: int = 12, y: Tensor | None = None) -> Split:
    x = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(count))
    return Split(x, torch.arange(count) % 10 if y is None else y, CLASSES, torch.arange(count))


def splits(train: Split | None = None) -> Splits:
    train = part() if train is None else train
    return Splits(train, train, train, "own", CLASSES, train.shape, "hash", 0)


class Giving(nn.Module):
    """Gives its logits as a tuple: always, or only while training."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always, self.linear = always, nn.Linear(9, 10)

    def forward(self, x: Tensor) -> Any:
        found = self.linear(x.flatten(1))
        return (found, found) if self.always or self.training else found


def flat(wide: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(wide, outputs))


UNFIT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "another width": (lambda: flat(8, 10), r"Sequential cannot take images of shape \(1, 3, 3\).*9 and 8x10"),
    "too few outputs": (lambda: flat(9, 7), r"must return logits \(batch, 10\).* for 2 images it gave \(2, 7\)"),
    "a tuple": (lambda: Giving(True), "must return logits .* it gave tuple"),
    "a tuple while training": (lambda: Giving(False), "must return logits .* it gave tuple"),
    "float64": (lambda: flat(9, 10).double(), "cannot take float32 images"),
    "one row": (lambda: nn.Sequential(nn.Flatten(0), nn.Linear(18, 10)), r"it gave \(10,\)"),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "lazy layers"),
}


@pytest.mark.parametrize(("make", "says"), UNFIT.values(), ids=list(UNFIT))
def test_a_model_that_does_not_fit_is_a_usage_error_however_it_is_trained(
    make: Callable[[], nn.Module], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        train(make(), [], splits(), epochs=1)
    for together in (False, True, None):
        with pytest.raises(UsageError, match=says):
            train_many(make, [], splits(), seeds=2, epochs=1, together=together)


def test_a_model_may_have_outputs_to_spare() -> None:
    assert train(flat(9, 12), [], splits(), epochs=1).status == "ok"


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (torch.arange(12), r"logits \(batch, 12\)"),
        (torch.arange(12) - 1, "from 0 on, got -1"),
        (torch.arange(12.0), r"int64 \(n,\), got float32 \(12,\)"),
    ],
    ids=["above", "below", "floats"],
)
def test_labels_that_are_no_class_numbers_are_usage_errors(y: Tensor, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        train(flat(9, 10), [], splits(part(y=y)), epochs=1)


def test_targets_of_another_shape_than_the_outputs_are_not_stretched_to_it() -> None:
    own = splits(part(y=torch.rand(12)))
    with pytest.raises(UsageError, match=r"outputs \(batch,\), the shape of the targets.*gave \(2, 1\)"):
        train(flat(9, 1), [], own, task="regression", epochs=1)
    with pytest.raises(UsageError, match=r"outputs \(batch,\)"):
        train_many(lambda: flat(9, 1), [], own, seeds=2, task="regression", epochs=1, together=True)
    with pytest.raises(UsageError, match=r"outputs \(12, 1\) and targets \(12,\)"):
        Objective(flat(9, 1), task="regression")(own.train.x, own.train.y, 0)


class Remembering(nn.Module):
    """Keeps what a forward pass leaves: in a buffer, in an attribute, and in torch's stream."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.normal, self.calls = nn.Linear(9, 10), nn.BatchNorm1d(9), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(nn.functional.dropout(self.normal(x.flatten(1)), 0.5)) * self.calls


def test_asking_a_model_leaves_no_trace_in_it_nor_in_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Remembering().eval()
    before, random = {name: one.clone() for name, one in model.state_dict().items()}, torch.get_rng_state()
    found = train(model, [], splits(), epochs=3, batch_size=5)
    assert model.calls == 0 and not model.training
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    monkeypatch.setattr("robustreg.training.check_learns", lambda *_: None)
    unasked = train(model, [], splits(), epochs=3, batch_size=5)
    assert found.model.calls == unasked.model.calls
    assert found.history == unasked.history
    assert all(torch.equal(one, unasked.model.state_dict()[name]) for name, one in found.model.state_dict().items())


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"epochs": "3"}, "epochs must be a whole number, got '3'"),
        ({"epochs": 2.5}, "epochs must be a whole number, got 2.5"),
        ({"batch_size": True}, "batch_size must be a whole number, got True"),
        ({"learning_rate": None}, "learning_rate must be a number, got None"),
        ({"momentum": "x"}, "momentum must be a number, got 'x'"),
        ({"shuffle": "no"}, "shuffle must be True or False, got 'no'"),
        ({"optimizer": 3}, "optimizer must be a word, got 3"),
    ],
    ids=str,
)
def test_a_setting_of_another_type_is_named_with_its_value_and_what_is_expected(
    setting: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        Recipe(**setting)
    with pytest.raises(UsageError, match=says):
        replace(Recipe(), **setting)
