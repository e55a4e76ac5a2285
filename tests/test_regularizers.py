"""Every built-in regularizer against an oracle of its own: closed forms, NumPy, torch's optimizers and schedulers."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor, nn
from torch.nn import functional as F

from robustreg import layers, regularizers
from robustreg.data.split import Split, Splits
from robustreg.errors import PluginError, UsageError
from robustreg.hookspecs import hookimpl
from robustreg.noise import Rng
from robustreg.objective import Objective
from robustreg.regularizer import Regularizer
from robustreg.training import train

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(8, 2, 5, 6, generator=GENERATOR)
Y = torch.arange(8) % 4
ROWS = torch.eye(4)[Y]


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 10), nn.ReLU(), nn.Linear(10, 4))


def learned_from(regularizer: Regularizer, x: Tensor = X, y: Tensor = ROWS, key: int = 0) -> tuple[Tensor, Tensor]:
    """The batch that the network is trained on, at last."""
    seen: list[Tensor] = []

    class Look(Regularizer):
        """Keep the batch."""

        name = "look"

        @hookimpl
        def penalty(self, x: Tensor, y: Tensor) -> None:
            seen.extend((x, y))

    shape = x[0].numel()
    Objective(nn.Sequential(nn.Flatten(), nn.Linear(shape, y.shape[-1])), [regularizer, Look()])(x, y, key)
    return seen[0], seen[1]


def factors(regularizer: Regularizer, steps: int, base: float = 0.1) -> list[float]:
    objective = Objective(mlp(), [regularizer])
    return [objective.learning_rate(step / steps, base) for step in range(steps)]


def torch_factors(scheduler: Any, steps: int) -> list[float]:
    """The learning rates of a torch scheduler that starts from 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = scheduler(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


# Norms.


def linear20() -> dict[str, Tensor]:
    torch.manual_seed(2021)
    return dict(nn.Linear(20, 20).named_parameters())


def test_l1_norm_has_the_known_answer() -> None:
    assert regularizers.l1_norm(linear20()).item() == 48.445133209228516


def test_squared_l2_norm_has_the_known_answer() -> None:
    assert regularizers.squared_l2_norm(linear20()).item() == 7.328375816345215


def test_norms_equal_numpys() -> None:
    params = dict(mlp().double().named_parameters())
    flat = np.concatenate([value.detach().numpy().ravel() for value in params.values()])
    assert regularizers.l1_norm(params).item() == pytest.approx(np.abs(flat).sum(), rel=1e-14)
    assert regularizers.squared_l2_norm(params).item() == pytest.approx(flat @ flat, rel=1e-14)


PENALTIES = {
    "l1": lambda w: 0.3 * np.abs(w).sum(),
    "l2": lambda w: 0.3 * (w**2).sum(),
    "elastic_net": lambda w: 0.3 * (np.abs(w).sum() + 5 * (w**2).sum()),
}


@pytest.mark.parametrize("kind", [regularizers.L1, regularizers.L2, regularizers.ElasticNet])
@pytest.mark.parametrize("which", ["weights", "all"])
def test_norm_penalties_are_their_formula_over_weights_or_all(kind: type[Regularizer], which: str) -> None:
    model = mlp().double()
    some = [value for value in model.parameters() if which == "all" or value.ndim == 2]
    flat = np.concatenate([value.detach().numpy().ravel() for value in some])
    _, terms = Objective(model, [kind(0.3, params=which)])(X.double(), Y, 0)
    assert terms[kind.name].item() == pytest.approx(PENALTIES[kind.name](flat), rel=1e-12)
    assert list(terms) == ["loss", kind.name]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_l2_is_a_weight_decay_of_twice_its_strength_under_sgd(momentum: float) -> None:
    first, second = mlp(), mlp()
    objective = Objective(first, [regularizers.L2(0.05, params="all")])
    one = torch.optim.SGD(first.parameters(), lr=0.1, momentum=momentum)
    two = torch.optim.SGD(second.parameters(), lr=0.1, momentum=momentum, weight_decay=0.1)
    for _ in range(3):
        one.zero_grad(), two.zero_grad()
        objective(X, Y, 0)[0].backward()
        F.cross_entropy(second(X), Y).backward()
        one.step(), two.step()
    for found, expected in zip(first.parameters(), second.parameters(), strict=True):
        assert (found - expected).abs().max() <= 1e-7


def test_l1_pulls_every_weight_by_its_strength() -> None:
    model, plain = mlp(), mlp()
    Objective(model, [regularizers.L1(0.01)])(X, Y, 0)[0].backward()
    Objective(plain)(X, Y, 0)[0].backward()
    for found, without in zip(model.parameters(), plain.parameters(), strict=True):
        pull = 0.01 * found.detach().sign() if found.ndim > 1 else torch.zeros_like(found)
        torch.testing.assert_close(found.grad - without.grad, pull, rtol=1e-5, atol=1e-7)  # type: ignore[operator]


# Images.


@pytest.mark.parametrize(
    ("down", "right"), [(0, 0), (1, 0), (-1, 0), (0, 2), (0, -2), (2, -1), (-3, 3), (5, 0), (0, -9)]
)
def test_shift_moves_like_a_padded_roll(down: int, right: int) -> None:
    found = regularizers.shift(X, torch.full((8,), down), torch.full((8,), right)).numpy()
    wide = np.pad(X.numpy(), ((0, 0), (0, 0), (9, 9), (9, 9)))
    expected = np.roll(wide, (down, right), (2, 3))[:, :, 9:-9, 9:-9]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, ndimage.shift(X.numpy(), (0, 0, down, right), order=0))


def test_shift_moves_each_image_by_its_own_amount() -> None:
    down, right = torch.arange(8) - 3, torch.arange(8).flip(0) - 4
    found = regularizers.shift(X, down, right)
    for index in range(8):
        alone = regularizers.shift(X[index : index + 1], down[index : index + 1], right[index : index + 1])
        assert torch.equal(alone[0], found[index])


@pytest.mark.parametrize(("strength", "reach"), [(1, 1), (2, 2), (2.9, 2), (0.5, 0)])
def test_shifts_are_uniform_up_to_strength(strength: float, reach: int) -> None:
    count = 4000
    x = torch.zeros(count, 1, 7, 7)
    x[:, :, 3, 3] = 1
    found, y = learned_from(regularizers.Shift(strength), x, torch.eye(2)[torch.arange(count) % 2])
    places = found.flatten(1).argmax(1)
    counts = torch.bincount(places, minlength=49).reshape(7, 7)[3 - reach : 4 + reach, 3 - reach : 4 + reach]
    assert int(counts.sum()) == count
    assert stats.chisquare(counts.flatten().numpy()).pvalue > 1e-4 or reach == 0
    assert torch.equal(torch.eye(2)[torch.arange(count) % 2], y)


FLIPS = [
    ({"strength": 1.0}, (3,)),
    ({"strength": 1e-9, "vertical": 1.0}, (2,)),
    ({"strength": 1.0, "vertical": 1.0}, (2, 3)),
]


@pytest.mark.parametrize(("knobs", "axes"), FLIPS)
def test_flip_mirrors(knobs: dict[str, float], axes: tuple[int, ...]) -> None:
    found, y = learned_from(regularizers.Flip(**knobs))
    np.testing.assert_array_equal(found.numpy(), np.flip(X.numpy(), axes))
    assert torch.equal(ROWS, y)


def test_flip_has_its_rate_and_whole_images_turn() -> None:
    x = torch.rand(4000, 1, 3, 4, generator=GENERATOR)
    found, _ = learned_from(regularizers.Flip(0.3), x, torch.eye(2)[torch.arange(4000) % 2])
    turned = (found == x.flip(3)).flatten(1).all(1)
    assert torch.equal(turned, ~(found == x).flatten(1).all(1))
    assert stats.binomtest(int(turned.sum()), 4000, 0.3).pvalue > 1e-4


@pytest.mark.parametrize("kind", [regularizers.Shift, regularizers.Flip])
def test_what_moves_pixels_needs_images(kind: type[Regularizer]) -> None:
    with pytest.raises(PluginError, match=r"needs images \(batch, channels, height, width\), got \(8, 60\)"):
        learned_from(kind(), X.flatten(1))


def test_input_noise_is_clipped_gaussian_noise() -> None:
    x = torch.full((64, 1, 20, 20), 0.5)
    found, _ = learned_from(regularizers.InputNoise(0.1), x, torch.eye(2)[torch.arange(64) % 2])
    assert stats.kstest((found.flatten().double().numpy() - 0.5) / 0.1, "norm").pvalue > 1e-4
    edge, _ = learned_from(regularizers.InputNoise(0.1), torch.ones(64, 1, 20, 20), torch.eye(2)[torch.arange(64) % 2])
    assert float(edge.max()) == 1
    assert float((edge == 1).float().mean()) == pytest.approx(0.5, abs=0.02)


# Labels.


def test_smoothing_is_its_closed_form() -> None:
    found = regularizers.smooth(ROWS.double(), 0.2).numpy()
    np.testing.assert_allclose(found, 0.8 * ROWS.double().numpy() + 0.2 / 4, rtol=1e-14)
    np.testing.assert_allclose(found.sum(1), 1)


def test_label_smoothing_is_torchs() -> None:
    model = mlp()
    loss, _ = Objective(model, [regularizers.LabelSmoothing(0.3)])(X, Y, 0)
    torch.testing.assert_close(loss, F.cross_entropy(model(X), Y, label_smoothing=0.3))


def test_mix_is_its_closed_form() -> None:
    partner = torch.tensor([3, 2, 1, 0, 7, 6, 5, 4])
    x, y = regularizers.mix(X.double(), ROWS.double(), torch.tensor(0.3).double(), partner)
    np.testing.assert_allclose(x, 0.3 * X.double().numpy() + 0.7 * X.double().numpy()[partner], rtol=1e-6)
    np.testing.assert_allclose(y, 0.3 * ROWS.numpy() + 0.7 * ROWS.numpy()[partner], rtol=1e-6)


def test_mixup_mixes_images_and_labels_with_one_beta_share_and_one_permutation() -> None:
    shares = []
    x = torch.arange(8.0).reshape(8, 1) / 8
    rows = torch.eye(8)  # the labels say who was mixed with whom, and how much
    for key in range(400):
        mixed, y = learned_from(regularizers.Mixup(0.4), x, rows, key)
        share = float(y[0, 0]) if float(y[0].max()) < 1 else None
        torch.testing.assert_close(mixed, y @ x)
        torch.testing.assert_close(y.sum(0), torch.ones(8))  # a permutation: each is a partner once
        if share is not None:
            shares.append(share)
    assert len(shares) > 300
    assert stats.kstest(np.array(shares), "beta", args=(0.4, 0.4)).pvalue > 1e-4


# Dropout.


def test_dropout_keeps_the_mean_and_has_the_variance_of_a_scaled_coin() -> None:
    layer = layers.Dropout(0.3).train()
    layer.key = 5
    found = layer(torch.ones(200_000))
    kept = int((found != 0).sum())
    assert found.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert stats.binomtest(kept, 200_000, 0.7).pvalue > 1e-4
    assert float(found.mean()) == pytest.approx(1, abs=5 * math.sqrt(0.3 / 0.7 / 200_000))
    assert float(found.var()) == pytest.approx(0.3 / 0.7, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dropout_keeps_the_type_of_what_it_thins(dtype: torch.dtype) -> None:
    layer = layers.Dropout(0.75).train()
    layer.key = 5
    found = layer(torch.ones(100, dtype=dtype))
    assert found.dtype == dtype
    assert {0.0, 4.0} == set(found.tolist())


def test_keyed_gives_each_noisy_layer_a_key_of_its_own_by_name_and_takes_it_away() -> None:
    first, second = layers.Dropout(0.5), layers.Dropout(0.5)
    network = nn.Sequential(first, nn.Linear(3, 3), nn.Sequential(second))
    found = layers.noisy_layers(network)
    assert found == [("0", first), ("2.0", second)]
    rng = Rng(9).split("network")
    with layers.keyed(found, rng):
        assert [layer.key for _, layer in found] == [rng.split("0").key, rng.split("2.0").key]
    assert [layer.key for _, layer in found] == [None, None]
    with pytest.raises(ZeroDivisionError), layers.keyed(network, 7):
        assert [layer.key for _, layer in found] == [Rng(7).split("0").key, Rng(7).split("2.0").key]
        raise ZeroDivisionError
    assert [layer.key for _, layer in found] == [None, None]


def test_dropout_is_nothing_in_evaluation_and_at_zero() -> None:
    layer = layers.Dropout(0.3).eval()
    assert layer(X) is X
    assert torch.equal(X, layers.Dropout(0.0).train()(X))


def test_dropout_without_a_key_follows_torchs_seed() -> None:
    layer, found = layers.Dropout(0.5), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(layer(X))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_gradient_of_dropout_is_its_mask() -> None:
    layer, x = layers.Dropout(0.5), X.clone().requires_grad_()
    layer.key = 3
    out = layer(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, (out != 0) * 2.0)


def test_dropout_goes_in_front_of_all_but_the_first_layer() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 2), nn.Flatten(), nn.Linear(18, 10), nn.Linear(10, 4))
    names = list(dict(model.named_parameters()))

    def thinned(**knobs: Any) -> list[str]:
        network = Objective(copy.deepcopy(model), [regularizers.Dropout(**knobs)]).network
        assert names == list(dict(network.named_parameters()))
        return [
            name.removesuffix(".dropout") for name, part in network.named_modules() if isinstance(part, layers.Dropout)
        ]

    assert thinned() == ["3", "4"]
    assert thinned(layers="all") == ["1", "3", "4"]
    assert thinned(input=0.2) == ["0", "3", "4"]


def test_dropout_drops_the_inputs_of_the_hidden_layer_at_its_rate() -> None:
    model = nn.Sequential(nn.Linear(1, 5000), nn.Linear(5000, 1, bias=False))
    nn.init.zeros_(model[0].weight), nn.init.ones_(model[0].bias), nn.init.ones_(model[1].weight)
    objective = Objective(model, [regularizers.Dropout(0.25)], task="regression").train()
    seen: list[Tensor] = []
    objective.network[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))  # type: ignore[index]
    objective(torch.zeros(3, 1), torch.zeros(3, 1), 0)
    for row in seen[0]:
        assert stats.binomtest(int((row == 0).sum()), 5000, 0.25).pvalue > 1e-4
        assert row.max().item() == pytest.approx(1 / 0.75)
    assert not torch.equal(seen[0][0], seen[0][1])
    torch.testing.assert_close(objective.network.eval()(torch.zeros(1, 1)), torch.full((1, 1), 5000.0))


def test_dropout_says_when_there_is_nothing_to_drop() -> None:
    with pytest.raises(UsageError, match="no hidden layer"):
        Objective(nn.Sequential(nn.Flatten(), nn.Linear(60, 4)), [regularizers.Dropout(0.5)])


# Schedules.


def test_cosine_is_torchs() -> None:
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=40), 40)
    assert factors(regularizers.Cosine(), 40) == pytest.approx(expected)
    half = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=40, eta_min=0.5), 40)
    assert factors(regularizers.Cosine(0.5), 40) == pytest.approx(half)


@pytest.mark.parametrize(("drops", "milestones"), [(2, [20, 40]), (1, [30]), (3, [15, 30, 45])])
def test_step_is_torchs(drops: int, milestones: list[int]) -> None:
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones, gamma=0.1), 60)
    assert factors(regularizers.Step(0.9, drops=drops), 60) == pytest.approx(expected)


def test_warmup_rises_in_a_line_and_stays() -> None:
    expected = [min(1.0, step / 10) for step in range(40)]
    assert factors(regularizers.Warmup(0.25), 40) == pytest.approx(expected)


def test_constant_is_a_factor_and_learning_rate_is_the_rate() -> None:
    assert factors(regularizers.Constant(0.3), 5) == pytest.approx([0.3] * 5)
    assert [0.1 * factor for factor in factors(regularizers.LearningRate(0.02), 5)] == pytest.approx([0.02] * 5)


@pytest.mark.parametrize("name", ["Constant", "LearningRate", "Step", "Cosine", "Warmup"])
def test_a_schedule_of_strength_0_is_exactly_1(name: str) -> None:
    assert {1.0} == set(factors(getattr(regularizers, name)(0), 30))


def test_schedules_multiply() -> None:
    objective = Objective(mlp(), [regularizers.Warmup(0.5), regularizers.Cosine()])
    assert objective.learning_rate(0.25, 0.1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)) / 2)


# Adversarial training.


def test_fgsm_training_learns_from_images_moved_along_the_gradients_sign() -> None:
    seen: list[Tensor] = []

    class Look(Regularizer):
        """Keep the batch."""

        name = "look"

        @hookimpl
        def penalty(self, x: Tensor) -> None:
            seen.append(x)

    model = mlp()
    Objective(model, [regularizers.FGSMTraining(0.1), Look()])(X, Y, 0)
    image = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(image), Y), image)
    torch.testing.assert_close(seen[0], (X + 0.1 * slope.sign()).clamp(0, 1))


def test_the_gradient_of_fgsm_training_takes_the_attack_as_given() -> None:
    model, plain = mlp(), mlp()
    objective = Objective(model, [regularizers.FGSMTraining(0.1)])
    objective(X, Y, 0)[0].backward()
    image = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(plain(image), Y), image)
    F.cross_entropy(plain((X + 0.1 * slope.sign()).clamp(0, 1)), Y).backward()
    for found, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)
    assert objective.passes == 2


def test_a_share_of_the_batch_stays_clean() -> None:
    x = torch.rand(3000, 1, 2, 2, generator=GENERATOR) * 0.5 + 0.25
    found, _ = learned_from(regularizers.FGSMTraining(0.1, clean=0.3), x, torch.eye(2)[torch.arange(3000) % 2])
    clean = (found == x).flatten(1).all(1)
    assert stats.binomtest(int(clean.sum()), 3000, 0.3).pvalue > 1e-4
    torch.testing.assert_close((found - x)[~clean].abs(), torch.full_like(x[~clean], 0.1))


def test_fgsm_training_comes_after_what_changes_images() -> None:
    first = learned_from_both([regularizers.FGSMTraining(0.1), regularizers.Shift(2)])
    second = learned_from_both([regularizers.Shift(2), regularizers.FGSMTraining(0.1)])
    assert torch.equal(first, second)


def learned_from_both(members: list[Regularizer]) -> Tensor:
    seen: list[Tensor] = []

    class Look(Regularizer):
        """Keep the batch."""

        name = "look"

        @hookimpl
        def penalty(self, x: Tensor) -> None:
            seen.append(x)

    Objective(mlp(), [*members, Look()])(X, Y, 0)
    return seen[0]


# Early stopping.


def small_splits() -> Splits:
    def part(count: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.rand(count, 2, 5, 6, generator=generator), torch.randint(4, (count,), generator=generator)
        return Split(x, y, tuple("abcd"), torch.arange(count))

    return Splits(part(40, 0), part(24, 1), part(8, 2), "noise", tuple("abcd"), (2, 5, 6), "hash", 0)


@pytest.mark.parametrize(("monitor", "sign"), [("accuracy", 1), ("nll", -1)])
@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping_stops_after_patience_plus_one_epochs_and_restores_the_best(
    monitor: str, sign: int, patience: int
) -> None:
    splits = small_splits()  # random labels: validation gets worse sooner or later
    weights: list[dict[str, Tensor]] = []
    member = regularizers.EarlyStopping(patience, monitor=monitor)
    run = train(
        mlp(), [member], splits, epochs=80, batch_size=8, learning_rate=0.1,
        on_epoch=lambda session: weights.append(copy.deepcopy(session.objective.network.state_dict())),
    )  # fmt: skip
    scores = [sign * row[f"val_{monitor}"] for row in run.history]
    best = int(np.argmax(scores))  # the first of equals: an equal score is no improvement
    assert len(run.history) == best + 1 + patience + 1 < 80
    for name, value in run.model.state_dict().items():
        assert torch.equal(weights[best][name], value)
    assert not torch.equal(weights[-1]["1.weight"], run.model.state_dict()["1.weight"])


@pytest.mark.parametrize(
    ("scores", "patience", "min_delta", "stops"),
    [
        ([0.5, 0.4, 0.4], 1, 0.0, [False, False, True]),
        ([0.5, 0.5, 0.5], 1, 0.0, [False, False, True]),
        ([0.5, 0.4, 0.6, 0.5, 0.5, 0.5], 2, 0.0, [False] * 5 + [True]),
        ([0.5, 0.55, 0.58, 0.7], 1, 0.1, [False, False, True, False]),
        ([0.0, 0.0, 0.0], 5, 0.0, [False] * 3),
        ([0.5] * 9, 0, 0.0, [False] * 9),
    ],
)
def test_patience_counts_epochs_without_improvement(
    scores: list[float], patience: int, min_delta: float, stops: list[bool]
) -> None:
    objective = Objective(mlp(), [regularizers.EarlyStopping(patience, min_delta=min_delta)])
    found = [objective.after_epoch(epoch, {"val_accuracy": score}) for epoch, score in enumerate(scores)]
    assert stops == found


def test_early_stopping_says_which_metrics_there_are() -> None:
    objective = Objective(mlp(), [regularizers.EarlyStopping(1, monitor="error")])
    with pytest.raises(UsageError, match="needs the metric val_error; there are val_accuracy"):
        objective.after_epoch(0, {"val_accuracy": 0.5, "train_accuracy": 0.5})
    with pytest.raises(UsageError, match="there is no validation set"):
        objective.after_epoch(0, {"train_accuracy": 0.5})


# Knobs.


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: regularizers.Dropout(1.0), r"dropout: p must be in \[0, 0.99\], got 1.0"),
        (lambda: regularizers.L1(-1), r"l1: lambda must be in \[0, inf\), got -1"),
        (lambda: regularizers.L1(math.nan), "l1: lambda must be in"),
        (lambda: regularizers.L1(True), "l1: lambda must be in"),
        (lambda: regularizers.L1("much"), "l1: lambda must be a number, got 'much'"),
        (lambda: regularizers.L1(params="weight"), "params must be one of weights, all, got 'weight'. Did you mean"),
        (
            lambda: regularizers.L1(paramz="all"),
            "l1 has no knob 'paramz'; it has strength, params, proximal. Did you mean",
        ),
        (lambda: regularizers.EarlyStopping(2.5), "patience must be a whole number"),
        (lambda: Regularizer(), "needs a `name`"),
    ],
)
def test_a_wrong_knob_is_refused_with_range_and_suggestion(make: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()


def test_float_knobs_are_buffers_and_travel_with_the_module() -> None:
    member = regularizers.ElasticNet(0.5, ratio=2)
    assert {name: float(value) for name, value in member.state_dict().items()} == {"strength": 0.5, "ratio": 2.0}
    assert torch.float64 == member.strength.dtype
    assert member.settings() == {"name": "elastic_net", "strength": 0.5, "ratio": 2.0, "params": "weights"}
    loss, _ = Objective(mlp(), [member])(X, Y, 0)
    assert loss.dtype == torch.float32


def test_a_draw_of_mixup_is_the_one_of_its_own_generator() -> None:
    """The share and the partners come from the key, the name and nothing else."""
    rng = Rng(9, X.device).split("mixup")
    share, partner = rng.symmetric_beta(torch.tensor(1.0, dtype=torch.float64)), rng.permutation(8)
    expected, _ = regularizers.mix(X, ROWS, share, partner)
    found, _ = learned_from(regularizers.Mixup(1.0), key=9)
    assert torch.equal(expected, found)


DRAWS = [
    (regularizers.Flip(0.5), ["bernoulli"]),
    (regularizers.Flip(0.5, vertical=0.1), ["bernoulli", "bernoulli"]),
    (regularizers.FGSMTraining(0.1), []),
    (regularizers.FGSMTraining(0.1, clean=0.5), ["bernoulli"]),
    (regularizers.Shift(1), ["uniform"]),
    (regularizers.InputNoise(0.1), ["normal"]),
    (regularizers.Mixup(0.1), ["symmetric_beta", "permutation"]),
    (regularizers.LabelSmoothing(0.1), []),
    (regularizers.L1(0.1), []),
]


@pytest.mark.parametrize(
    ("member", "expected"), DRAWS, ids=lambda value: value.name if isinstance(value, Regularizer) else "+".join(value)
)
def test_no_noise_is_drawn_that_nobody_uses(
    member: Regularizer, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    for name in ("uniform", "normal", "bernoulli", "integers", "permutation", "symmetric_beta"):
        real = getattr(Rng, name)

        def noted(*args: Any, _real: Any = real, _name: str = name, **knobs: Any) -> Tensor:
            drawn.append(_name)
            found: Tensor = _real(*args, **knobs)
            return found

        monkeypatch.setattr(Rng, name, noted)
    learned_from(member)
    assert drawn == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (regularizers.Flip(0.5), regularizers.Flip(0.5, vertical=0.1)),
        (regularizers.FGSMTraining(0.5), regularizers.FGSMTraining(0.5, clean=0.1)),
    ],
)
def test_whether_to_draw_is_a_python_value_in_which_runs_that_are_stacked_agree(
    first: Regularizer, second: Regularizer
) -> None:
    assert switches(first) != switches(second)
    assert switches(first) == switches(type(first)(0.25))


def switches(member: Regularizer) -> dict[str, bool]:
    return {name: value for name, value in vars(member).items() if isinstance(value, bool)}


def test_mixup_of_share_one_and_of_strength_zero_is_the_batch_to_the_last_bit() -> None:
    x, y = regularizers.mix(X, ROWS, torch.tensor(1.0), torch.arange(7, -1, -1))
    assert torch.equal(x, X)
    assert torch.equal(y, ROWS)
    for key in range(5):
        x, y = learned_from(regularizers.Mixup(0.0), key=key)
        assert torch.equal(x, X)
        assert torch.equal(y, ROWS)
