"""Training: the same bits as a plain loop, resuming, diverging, and the tutorial's toy regression."""

from __future__ import annotations

import copy
import io
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustreg import layers
from robustreg.data.split import Split, Splits
from robustreg.errors import UsageError
from robustreg.hookspecs import hookimpl
from robustreg.noise import Rng, fold, seed_key
from robustreg.regularizer import Regularizer
from robustreg.regularizers import L2, Cosine, EarlyStopping, Mixup, Shift
from robustreg.training import Recipe, Session, train

CLASSES = ("a", "b", "c")


def as_splits(*parts: tuple[Tensor, Tensor]) -> Splits:
    train, val, test = (Split(x, y, CLASSES, torch.arange(len(y))) for x, y in parts)
    return Splits(train, val, test, "test", CLASSES, train.shape, "hash", 0)


def blobs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of three classes, each with a bright row of its own."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    x = torch.rand(count, 1, 6, 6, generator=generator) * 0.7
    x[torch.arange(count), 0, y * 2] += 0.3
    return x, y


SPLITS = as_splits(blobs(70, 0), blobs(30, 1), blobs(30, 2))


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3))


def with_all_kinds_of_noise() -> nn.Sequential:
    """BatchNorm, keyed dropout, and torch's own dropout, which draws from the global stream."""
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    return nn.Sequential(
        *convolution, layers.Dropout(0.3), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
    )


def weights(model: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in model.state_dict().values()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


# The same bits as a plain loop.

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.8, weight_decay=1e-3, fused=True),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1, betas=(0.8, 0.999), weight_decay=1e-3, fused=True),
    "adamw": lambda parameters: torch.optim.AdamW(
        parameters, lr=0.1, betas=(0.8, 0.999), weight_decay=1e-3, fused=True
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_equals_a_plain_loop_bit_for_bit(optimizer: str) -> None:
    run = train(
        mlp(), [], SPLITS, seed=5, epochs=3, batch_size=16, optimizer=optimizer, learning_rate=0.1, momentum=0.8,
        weight_decay=1e-3,
    )  # fmt: skip
    model = mlp()
    steps = OPTIMIZERS[optimizer](model.parameters())
    x, y = SPLITS.train.x, SPLITS.train.y
    for epoch in range(3):
        order = Rng(fold(fold(seed_key(5), "order"), epoch)).permutation(70)
        for some in order.split(16):
            steps.zero_grad()
            rows = F.one_hot(y[some], 3).float()
            loss = -(rows * F.log_softmax(model(x[some]), dim=-1)).sum(-1).mean()
            loss.backward()
            steps.step()
    assert equal(weights(model), weights(run.model))


def test_and_the_loop_with_torchs_own_cross_entropy_agrees_closely() -> None:
    run = train(mlp(), [], SPLITS, seed=5, epochs=3, batch_size=70, learning_rate=0.1, momentum=0.0)
    model = mlp()
    steps = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        steps.zero_grad()
        F.cross_entropy(model(SPLITS.train.x), SPLITS.train.y).backward()
        steps.step()
    for found, expected in zip(weights(run.model), weights(model), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_every_image_is_seen_once_an_epoch_and_orders_differ() -> None:
    seen: list[Tensor] = []

    class Look(Regularizer):
        """Keep the batches."""

        name = "look"

        @hookimpl
        def batch(self, x: Tensor) -> None:
            seen.append(x)

    train(mlp(), [Look()], SPLITS, epochs=2, batch_size=32)
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    assert [len(batch) for batch in seen[:3]] == [32, 32, 6]
    key = lambda images: sorted(images.flatten(1).sum(1).tolist())  # noqa: E731
    assert key(first) == key(second) == key(SPLITS.train.x)
    assert not torch.equal(first, second)


def test_noise_is_new_in_every_step_and_every_seed_and_the_same_whoever_else_is_there() -> None:
    drawn: list[list[float]] = []

    class Draw(Regularizer):
        """Draw a number."""

        name = "draw"

        @hookimpl
        def batch(self, rng: Rng) -> None:
            drawn[-1].append(float(rng.uniform()))

    for seed, others in ((0, []), (0, [Mixup()]), (1, [])):
        drawn.append([])
        train(mlp(), [*others, Draw()], SPLITS, seed=seed, epochs=2, batch_size=16)
    assert len(set(drawn[0])) == 10
    assert drawn[0] == drawn[1]
    assert set(drawn[0]).isdisjoint(drawn[2])


# What a run records.


def test_history_is_the_evaluation_after_each_epoch() -> None:
    run = train(mlp(), [L2(1e-3)], SPLITS, epochs=4, batch_size=70, learning_rate=0.1, momentum=0.0)
    assert [row["epoch"] for row in run.history] == [0, 1, 2, 3]
    with torch.no_grad():
        for name, split in (("train", SPLITS.train), ("val", SPLITS.val)):
            outputs = run.model(split.x)
            assert float((outputs.argmax(-1) == split.y).float().mean()) == run.history[-1][f"{name}_accuracy"]
            assert float(F.cross_entropy(outputs, split.y)) == pytest.approx(run.history[-1][f"{name}_nll"], rel=1e-6)
        norm = torch.cat([value.flatten() for value in run.model.parameters()]).norm()
        assert float(norm) == pytest.approx(run.history[-1]["frobenius_norm"], rel=1e-6)
        before = mlp()
        squares = sum(value.square().sum() for value in before.parameters() if value.ndim > 1)
        assert float(1e-3 * squares) == pytest.approx(run.history[0]["l2"], rel=1e-5)
        assert float(F.cross_entropy(before(SPLITS.train.x), SPLITS.train.y)) == pytest.approx(run.history[0]["loss"])
    assert run.history[0]["train_loss"] == pytest.approx(run.history[0]["loss"] + run.history[0]["l2"])
    assert run.status == "ok"
    assert run.reason == ""
    assert run.regularizers == [{"name": "l2", "strength": 1e-3, "params": "weights"}]
    assert {name: float(value.norm()) for name, value in mlp().state_dict().items()} == run.initial_norms
    assert run.gradient_passes == 4
    assert run.seconds > 0
    assert not run.model.training


def test_it_learns() -> None:
    run = train(mlp(), [], SPLITS, epochs=60, learning_rate=0.1)
    assert float((run.model(SPLITS.test.x).argmax(-1) == SPLITS.test.y).float().mean()) > 0.9


def test_the_learning_rate_of_a_step_is_the_base_times_the_factor_at_its_progress() -> None:
    run = train(mlp(), [Cosine()], SPLITS, epochs=4, batch_size=35, learning_rate=0.1)
    last = [0.1 * (1 + np.cos(np.pi * step / 8)) / 2 for step in (1, 3, 5, 7)]
    assert last == pytest.approx([row["learning_rate"] for row in run.history])


def test_zero_epochs_leave_the_weights_alone() -> None:
    run = train(mlp(), [], SPLITS, epochs=0)
    assert equal(weights(mlp()), weights(run.model))
    assert run.history == []


def test_streams_of_images_train_like_tensors() -> None:
    class Images:
        shape = (1, 6, 6)

        def __len__(self) -> int:
            return 70

        def __getitem__(self, index: int) -> Tensor:
            return SPLITS.train.x[index]

    streamed = as_splits((Images(), SPLITS.train.y), (SPLITS.val.x, SPLITS.val.y), (SPLITS.test.x, SPLITS.test.y))  # type: ignore[arg-type]
    first, second = (train(mlp(), [Mixup()], splits, epochs=2) for splits in (SPLITS, streamed))
    assert equal(weights(first.model), weights(second.model))


# Runs that go wrong, and runs that are interrupted.


def test_a_diverging_run_says_so_and_ends() -> None:
    seen: list[Session] = []
    run = train(mlp(), [], SPLITS, epochs=50, learning_rate=1e30, on_epoch=seen.append)
    assert run.status == "diverged"
    assert "in epoch" in run.reason
    assert len(run.history) < 50
    assert run.history[-1]["epoch"] == len(run.history) - 1
    assert str(len(run.history)) in run.reason


@pytest.mark.parametrize("cut", [1, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(cut: int, optimizer: str) -> None:
    members = [Shift(1), Mixup(0.5), Cosine(), EarlyStopping(3), L2(1e-3)]
    states: list[dict[str, Any]] = []
    options: dict[str, Any] = {"seed": 4, "epochs": 4, "batch_size": 16, "optimizer": optimizer, "learning_rate": 0.02}
    whole = train(
        with_all_kinds_of_noise(), members, SPLITS, on_epoch=lambda s: states.append(s.state_dict()), **options
    )
    stored = io.BytesIO()
    torch.save(states[cut - 1], stored)
    stored.seek(0)
    state = torch.load(stored, weights_only=True)
    other = with_all_kinds_of_noise()
    nn.init.zeros_(other[0].weight)  # the weights come from the state
    torch.manual_seed(123)
    for _ in range(2):  # the state itself stays as it was, and can be gone on from again
        resumed = train(other, members, SPLITS, state=state, **options)
        assert equal(weights(whole.model), weights(resumed.model))
        assert whole.history == resumed.history
        assert whole.gradient_passes == resumed.gradient_passes


def test_a_state_is_a_copy() -> None:
    states: list[dict[str, Any]] = []
    train(mlp(), [], SPLITS, epochs=3, on_epoch=lambda session: states.append(session.state_dict()))
    firsts = [state["objective"]["network.1.weight"] for state in states]
    assert not torch.equal(firsts[0], firsts[2])
    assert [state["epoch"] for state in states] == [1, 2, 3]
    assert [len(state["history"]) for state in states] == [1, 2, 3]


def test_resuming_a_run_that_had_stopped_trains_no_further() -> None:
    states: list[dict[str, Any]] = []
    options: dict[str, Any] = {"epochs": 40, "learning_rate": 0.0, "on_epoch": lambda s: states.append(s.state_dict())}
    run = train(mlp(), [EarlyStopping(2)], SPLITS, **options)
    assert len(run.history) == 4
    again = train(mlp(), [EarlyStopping(2)], SPLITS, state=states[-1], **options)
    assert run.history == again.history
    assert len(states) == 4


# What stays as it was.


def test_the_model_and_the_regularizers_passed_in_stay_as_they_were() -> None:
    model, members = with_all_kinds_of_noise(), [EarlyStopping(3), L2(1e-3)]
    before = copy.deepcopy([model.state_dict(), *(member.state_dict() for member in members)])
    run = train(model, members, SPLITS, epochs=2)
    after = [model.state_dict(), *(member.state_dict() for member in members)]
    for first, second in zip(before, after, strict=True):
        assert equal(list(first.values()), list(second.values()))
    assert all(value.grad is None and value.requires_grad for value in model.parameters())
    assert model.training
    assert members[0].best is None
    assert run.model is not model


def test_global_random_states_are_neither_used_nor_changed() -> None:
    runs = []
    for seed in (1, 2):
        model = with_all_kinds_of_noise()
        torch.manual_seed(seed), random.seed(seed), np.random.seed(seed)
        before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
        runs.append(train(model, [Mixup()], SPLITS, seed=3, epochs=2))
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    assert equal(weights(runs[0].model), weights(runs[1].model))


def test_another_seed_is_another_run_with_the_same_initial_weights() -> None:
    first, second = (train(mlp(), [], SPLITS, seed=seed, epochs=1) for seed in (0, 1))
    assert first.initial_norms == second.initial_norms
    assert not equal(weights(first.model), weights(second.model))


def test_layers_that_a_regularizer_makes_start_from_the_seed() -> None:
    class Deeper(Regularizer):
        """One more layer."""

        name = "deeper"

        @hookimpl
        def prepare(self, model: nn.Module) -> nn.Module:
            return nn.Sequential(model, nn.Linear(3, 3))

    runs = []
    for stream, seed in ((1, 0), (2, 0), (2, 1)):
        model = mlp()
        torch.manual_seed(stream)
        runs.append(train(model, [Deeper()], SPLITS, seed=seed, epochs=0))
    assert equal(weights(runs[0].model), weights(runs[1].model))
    assert not equal(weights(runs[0].model), weights(runs[2].model))


# The recipe.


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epoch": 3}, "no setting 'epoch'.* Did you mean 'epochs'"),
        ({"optimizer": "adm"}, "got 'adm'. Did you mean 'adam'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be at least 0, got nan"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
    ],
)
def test_a_wrong_recipe_is_refused_with_what_came_and_what_was_expected(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        train(mlp(), [], SPLITS, **settings)


def test_settings_replace_fields_of_the_recipe() -> None:
    run = train(mlp(), [], SPLITS, recipe=Recipe(epochs=7, batch_size=10), epochs=1)
    assert Recipe(epochs=1, batch_size=10) == run.recipe


# The tutorial's toy regression: 10 noisy points of y = 2x, a network with 151,601 parameters, 10,000 full-batch steps.
# Neuromatch Academy, Deep learning, W2D1 Regularization, 2021; the numbers are those of its own loop (torch CPU).


def toy_network(*, dropout: bool) -> nn.Sequential:
    thin = [layers.Dropout(p) if dropout else nn.Identity() for p in (0.4, 0.2)]
    wide = [nn.Linear(1, 300), thin[0], nn.LeakyReLU(), nn.Linear(300, 500), thin[1], nn.LeakyReLU()]
    return nn.Sequential(*wide, nn.Linear(500, 1))


def toy_data() -> Splits:
    torch.manual_seed(2021)
    x = torch.rand(10, 1)
    y = 2 * x + 2 * torch.empty(10, 1).normal_(mean=0, std=1)
    grid = torch.linspace(0, 1, 40).reshape(40, 1)
    return as_splits((x, y), (grid, 2 * grid), (grid, 2 * grid))


def toy_run(model: nn.Module, splits: Splits) -> Any:
    return train(
        model, [], splits, seed=2021, task="regression", epochs=10_000, batch_size=10, optimizer="adam",
        learning_rate=1e-4,
    )  # fmt: skip


@pytest.mark.slow
def test_the_tutorials_regression_without_dropout_gives_the_tutorials_numbers() -> None:
    splits = toy_data()
    model = toy_network(dropout=False)  # made after the data, from the same stream
    assert float(splits.train.x[0]) == pytest.approx(0.13043904, abs=1e-7)
    assert float(splits.train.y[0]) == pytest.approx(-2.3374214, abs=1e-6)
    run = toy_run(model, splits)
    errors = [row["val_error"] for row in run.history]
    assert sum(norm**2 for norm in run.initial_norms.values()) ** 0.5 == pytest.approx(19.538, abs=5e-4)
    assert errors[0] == pytest.approx(1.23, rel=0.05)
    assert min(errors) == pytest.approx(0.282, rel=0.05)
    assert errors.index(min(errors)) == pytest.approx(20, abs=2)
    assert errors[-1] == pytest.approx(6.70, rel=0.05)
    assert run.history[-1]["frobenius_norm"] == pytest.approx(32.80, rel=0.05)
    assert run.history[-1]["train_error"] < 1e-5


@pytest.mark.slow
def test_dropout_lowers_the_final_test_error_of_the_tutorials_regression() -> None:
    splits = toy_data()
    grid, target = splits.test.x, splits.test.y
    splits = replace(splits, val=splits.val.subset(torch.arange(0)))  # not looked at after each epoch: that is slow
    torch.manual_seed(2021)
    run = toy_run(toy_network(dropout=True), splits)
    assert sum(norm**2 for norm in run.initial_norms.values()) ** 0.5 == pytest.approx(19.546, abs=5e-4)
    with torch.no_grad():
        final = float(F.mse_loss(run.model(grid), target))
    assert final < 6.63  # that of the same initial weights without dropout
    assert final == pytest.approx(5.56, rel=0.1)  # the masks are ours, so the number is only near the tutorial's
    assert run.history[-1]["train_error"] == pytest.approx(0.976, rel=0.25)
