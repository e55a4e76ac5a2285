"""The hooks around a step: where the gradient is taken, what is done to it, to the weights and to the training set."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustreg.cohort import Member, train_cohort
from robustreg.data import load_data
from robustreg.errors import PluginError, UsageError
from robustreg.hookspecs import hookimpl
from robustreg.layers import Dropout
from robustreg.objective import Objective
from robustreg.recipe import Recipe
from robustreg.regularizer import Regularizer
from robustreg.session import Run
from robustreg.training import train

DIGITS = load_data("digits", seed=0, train=60, val=20, test=20)
RECIPE = Recipe(epochs=2, batch_size=25, learning_rate=0.1, momentum=0.0)


X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 2, 1, 0])


def toy(name: str, **hooks: Callable[..., Any]) -> Regularizer:
    """A regularizer with these functions as its hooks."""
    marked = {hook: hookimpl(function) for hook, function in hooks.items()}
    return type("Toy", (Regularizer,), {"name": name, "__doc__": "A toy.", **marked})()


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def mlp(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


def weights(run: Run) -> Tensor:
    return torch.cat([value.flatten() for value in run.model.parameters()])


def both(*kinds: Regularizer, **settings: Any) -> list[Run]:
    """The same run trained alone and in a cohort of two."""
    recipe = RECIPE.changed(**settings)
    members = [Member(mlp(seed), kinds, DIGITS, seed) for seed in (0, 1)]
    return [train(mlp(), kinds, DIGITS, recipe=recipe), train_cohort(members, recipe=recipe, together=True)[0]]


# weights


def test_the_gradient_is_taken_at_the_weights_that_are_returned_and_goes_to_the_original_ones() -> None:
    model, elsewhere = linear(), linear()
    with torch.no_grad():
        for parameter in elsewhere.parameters():
            parameter.add_(0.3)
    objective = Objective(model, [toy("away", weights=lambda self, params: {n: p + 0.3 for n, p in params.items()})])
    loss, _ = objective(X, Y, 0)
    loss.backward()
    wanted = F.cross_entropy(elsewhere(X), Y)
    wanted.backward()
    torch.testing.assert_close(loss, wanted)
    for one, other in zip(model.parameters(), elsewhere.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_weights_are_chained_and_those_left_out_stay_and_penalties_see_the_originals() -> None:
    seen: dict[str, Tensor] = {}
    twice = toy("twice", weights=lambda self, params: {"1.bias": 2 * params["1.bias"]})
    add = toy("add", weights=lambda self, params: {"1.bias": params["1.bias"] + 1})
    look = toy("look", penalty=lambda self, params, logits: seen.update(params, logits=logits))
    model = linear()
    Objective(model, [twice, add, look])(X, Y, 0)
    wanted = F.linear(X.flatten(1), model[1].weight, 2 * model[1].bias + 1)  # type: ignore[index]
    torch.testing.assert_close(seen["logits"], wanted)
    assert seen["1.bias"] is model[1].bias  # type: ignore[index]


def test_batchnorm_takes_note_of_the_batch_at_other_weights_too() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    Objective(model, [toy("same", weights=lambda self, params: dict(params))])(X, Y, 0)
    assert int(model.state_dict()["1.num_batches_tracked"]) == 1


# gradient and after_step


def test_gradients_are_what_the_hooks_make_of_them_alone_and_together() -> None:
    less = toy("less", gradient=lambda self, gradients: {name: one / 2 for name, one in gradients.items()})
    alone, together = both(less)
    wanted = train(mlp(), [], DIGITS, recipe=RECIPE.changed(learning_rate=0.05))
    torch.testing.assert_close(weights(alone), weights(wanted))
    torch.testing.assert_close(weights(together), weights(wanted))


def test_weights_after_a_step_are_what_the_hooks_make_of_them_alone_and_together() -> None:
    def back(
        self: Any, params: Mapping[str, Tensor], before: Mapping[str, Tensor], learning_rate: Tensor
    ) -> Mapping[str, Tensor]:
        assert learning_rate.dtype == torch.float64
        assert learning_rate.ndim == 0
        return {name: one + (before[name] - one) * (5 * learning_rate).to(one.dtype) for name, one in params.items()}

    alone, together = both(toy("back", after_step=back))
    wanted = train(mlp(), [], DIGITS, recipe=RECIPE.changed(learning_rate=0.05))  # 5 * 0.1: half of the way
    torch.testing.assert_close(weights(alone), weights(wanted))
    torch.testing.assert_close(weights(together), weights(wanted))


def test_after_step_is_chained_in_the_order_typed() -> None:
    zero = toy("zero", after_step=lambda self, params: {name: 0 * one for name, one in params.items()})
    one = toy("one", after_step=lambda self, params: {name: one + 1 for name, one in params.items()})
    for run in both(zero, one):
        assert weights(run).eq(1).all()
    for run in both(one, zero):
        assert weights(run).eq(0).all()


# before_epoch, order and progress


def test_the_training_set_of_an_epoch_is_what_the_hook_returns_and_metrics_see_the_original() -> None:
    seen: list[int] = []

    def permuted(self: Any, x: Tensor, y: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        seen.append(epoch)
        return x, (y + 1) % 10

    runs = both(toy("next", before_epoch=permuted), epochs=30)
    assert seen == [*range(30), *(epoch for epoch in range(30) for _ in range(2))]  # alone, then two together
    for run in runs:
        assert run.history[-1]["train_loss"] < 1.6
        assert run.history[-1]["train_accuracy"] < 0.1
    torch.testing.assert_close(weights(runs[0]), weights(runs[1]), rtol=1e-4, atol=1e-5)


def test_without_shuffling_the_order_is_that_of_the_split_in_every_epoch() -> None:
    seen: list[Tensor] = []
    look = toy("look", batch=lambda self, x: seen.append(x.clone()))
    train(mlp(), [look], DIGITS, recipe=RECIPE.changed(shuffle=False))
    images = DIGITS.train.ready("cpu").x
    assert isinstance(images, Tensor)
    assert torch.equal(torch.cat(seen[:3]), images)
    assert torch.equal(torch.cat(seen[3:]), images)
    alone, together = both(shuffle=False)
    torch.testing.assert_close(weights(alone), weights(together))
    assert not torch.equal(weights(alone), weights(both()[0]))


def test_progress_is_the_share_of_steps_that_are_done_and_one_in_a_loop_of_ones_own() -> None:
    seen: list[float] = []
    keep = toy("keep", batch=lambda self, progress: seen.append(progress))
    train(mlp(), [keep], DIGITS, recipe=RECIPE)
    assert seen == [step / 6 for step in range(6)]
    Objective(linear(), [keep])(X, Y, 0)
    assert seen[-1] == 1.0


# fit, val and train


def test_a_teacher_is_the_run_without_the_regularizer_and_its_passes_are_counted() -> None:
    taught: list[nn.Module] = []
    ask = toy("ask", prepare=lambda self, model, fit: taught.append(fit(model)))
    plain = train(mlp(), [], DIGITS, recipe=RECIPE)
    for run in both(ask):
        assert run.gradient_passes == 2 * plain.gradient_passes
        torch.testing.assert_close(weights(run), weights(plain))
    for found, wanted in zip(taught[0].parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(found, wanted)
    with pytest.raises(UsageError, match="wants to train another network first"):
        Objective(linear(), [ask])


def test_hooks_are_shown_the_validation_and_the_training_split() -> None:
    seen: list[Any] = []
    look = toy(
        "look",
        after_epoch=lambda self, val: seen.append((val.x, val.y)),
        finish=lambda self, model, train: seen.append((train.x, train.y)),
    )
    both(look, epochs=1)
    expected = [DIGITS.val, DIGITS.train, DIGITS.val, DIGITS.val, DIGITS.train, DIGITS.train]
    for (x, y), split in zip(seen, expected, strict=True):
        assert torch.equal(y, split.y)
        torch.testing.assert_close(x.float() / (255 if x.dtype == torch.uint8 else 1), split.ready("cpu").x)


def test_prediction_in_evaluation_mode_has_no_dropout_and_restores_each_mode() -> None:
    model = nn.Sequential(nn.Flatten(), Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, 3))
    objective = Objective(model, [toy("ask", batch=lambda self, x, predict: seen.append(predict(x, training=False)))])
    seen: list[Tensor] = []
    objective.train()
    model[2].eval()
    wanted = copy.deepcopy(model).eval()(X)
    objective(X, Y, 0)
    assert torch.equal(seen[0], wanted)
    assert [module.training for module in model] == [True, True, False, True]


# errors

BAD: dict[str, tuple[str, Callable[..., Any], str]] = {
    "no parameter": ("weights", lambda self: {"nothing": X}, "weights() names 'nothing', which is no parameter"),
    "shape": ("weights", lambda self: {"1.bias": X}, "weights() must give '1.bias' the shape (3,), got (6, 1, 4, 4)"),
    "kind": ("gradient", lambda self: 3, "gradient() must return Mapping or None, got int"),
    "number": ("after_step", lambda self: {"1.bias": 3}, "after_step() must give '1.bias' the shape (3,), got int"),
    "count": ("before_epoch", lambda self, x, y: (x[1:], y), "before_epoch() must return as many images, 6, got 5 and"),
    "pair": ("before_epoch", lambda self, x: x, "before_epoch() must return the pair (x, y) or None"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_hook_may_not_return_is_said_with_its_name(case: str) -> None:
    hook, function, says = BAD[case]
    with pytest.raises(PluginError) as caught:
        objective = Objective(linear(), [toy("mine", **{hook: function})])
        objective.before_epoch(X, Y, 0, 0)
        objective(X, Y, 0)
        objective.gradient({"1.bias": torch.zeros(3)}, 0)
        objective.after_step({}, 0.1, 0)
    assert says in str(caught.value)
    assert "regularizer 'mine'" in str(caught.value)
