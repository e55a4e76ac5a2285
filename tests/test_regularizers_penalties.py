"""Penalties on gradients, logits and weights, and weight decay, against closed forms, autograd, SVD and torch.optim."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from robustreg import regularizers
from robustreg.data.split import Split, Splits
from robustreg.errors import UsageError
from robustreg.noise import Rng
from robustreg.objective import Objective
from robustreg.recipe import Recipe
from robustreg.regularizer import Regularizer
from robustreg.testing import check
from robustreg.training import train

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(8, 2, 3, 4, generator=GENERATOR, dtype=torch.float64)
Y = torch.arange(8) % 4
ROWS = torch.eye(4, dtype=torch.float64)[Y]


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(24, 10), nn.Tanh(), nn.Linear(10, 4)).double()


def linear() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(24, 4)).double()


def weight(model: nn.Sequential) -> Tensor:
    """The weight of its first linear layer."""
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    return layer.weight


def term(model: nn.Module, member: Regularizer, key: int = 0, x: Tensor = X, y: Tensor = Y) -> Tensor:
    """The term that the regularizer adds to the loss."""
    _, terms = Objective(model, [member])(x, y, key)
    assert list(terms) == ["loss", member.name]
    return terms[member.name]


def draws(model: nn.Module, member: Regularizer, count: int, images: int = 8) -> np.ndarray[Any, Any]:
    """The term at so many keys."""
    objective = Objective(model, [member])
    return np.array([float(objective(X[:images], Y[:images], key)[1][member.name].detach()) for key in range(count)])


def gradients(loss: Tensor, model: nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [torch.zeros_like(one) if g is None else g for g, one in zip(found, model.parameters(), strict=True)]


def same_gradients(found: Tensor, wanted: Tensor, model: nn.Module, other: nn.Module) -> None:
    for one, two in zip(gradients(found, model), gradients(wanted, other), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


# The input gradient.


def test_the_input_gradient_of_a_linear_model_is_its_closed_form() -> None:
    model = linear()
    slopes = (model(X).softmax(-1) - ROWS) @ weight(model)
    wanted = 0.7 * slopes.square().sum(1).mean()
    assert term(model, regularizers.InputGradient(0.7)).item() == pytest.approx(wanted.item(), rel=1e-12)


def test_the_input_gradient_and_its_own_gradient_are_autograds_image_by_image() -> None:
    model, plain = mlp(), mlp()
    squares = []
    for x, y in zip(X, Y, strict=True):
        image = x[None].clone().requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(plain(image), y[None]), image, create_graph=True)
        squares.append(slope.square().sum())
    wanted = 0.7 * torch.stack(squares).mean()
    found = term(model, regularizers.InputGradient(0.7))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    same_gradients(found, wanted, model, plain)


def test_the_input_gradient_is_that_of_the_task() -> None:
    torch.manual_seed(1)
    model = nn.Linear(3, 1).double()
    x, y = torch.rand(6, 3, dtype=torch.float64), torch.rand(6, 1, dtype=torch.float64)
    _, terms = Objective(model, [regularizers.InputGradient(1)], task="regression")(x, y, 0)
    wanted = ((2 * (model(x) - y)).square() * model.weight.square().sum()).mean()
    assert terms["input_gradient"].item() == pytest.approx(wanted.item(), rel=1e-12)


def test_the_input_gradient_costs_one_pass_more() -> None:
    objective = Objective(mlp(), [regularizers.InputGradient()])
    objective(X, Y, 0)
    assert objective.passes == 2


# The Jacobian.


def squared_jacobians(model: nn.Module) -> Tensor:
    """The squared Frobenius norm of each image's Jacobian, by autograd."""
    found = []
    for x in X:
        image = x[None].clone().requires_grad_()
        rows = [torch.autograd.grad(out, image, create_graph=True)[0] for out in model(image)[0]]
        found.append(torch.stack(rows).square().sum())
    return torch.stack(found)


def test_with_all_projections_the_jacobian_is_autograds_and_so_is_its_gradient() -> None:
    model, plain = mlp(), mlp()
    wanted = 0.3 / 2 * squared_jacobians(plain).mean()
    found = term(model, regularizers.Jacobian(0.3, n_proj=0))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    same_gradients(found, wanted, model, plain)


def test_the_jacobian_of_a_linear_model_is_its_weight() -> None:
    model = linear()
    wanted = weight(model).square().sum() / 2
    assert term(model, regularizers.Jacobian(1, n_proj=0)).item() == pytest.approx(wanted.item(), rel=1e-12)


@pytest.mark.parametrize("n_proj", [1, 3])
def test_projections_estimate_the_jacobian_without_bias(n_proj: int) -> None:
    model = mlp()
    wanted = squared_jacobians(model).mean().item()
    drawn = draws(model, regularizers.Jacobian(2, n_proj=n_proj), 300)
    assert abs(drawn.mean() - wanted) < 4 * drawn.std() / np.sqrt(300)
    assert 0.001 < drawn.std() / wanted < 0.5


@pytest.mark.parametrize("n_proj", [1, 2, 7])
def test_projections_have_unit_length(n_proj: int) -> None:
    """With orthonormal rows of the weight every unit direction sees the same, so each single draw is exact."""
    model = linear()
    nn.init.orthogonal_(weight(model))
    assert draws(model, regularizers.Jacobian(2, n_proj=n_proj), 5) == pytest.approx(4.0, rel=1e-6)


def test_directions_are_drawn_for_each_image_and_all_alike() -> None:
    """With one weight row of length 1 and the others 0, the term is 4 cos**2 of an angle: Beta(1/2, 3/2) times 4."""
    model = linear()
    nn.init.zeros_(weight(model))
    weight(model).data[2, 5] = 1
    one = regularizers.Jacobian(2)
    drawn, many = draws(model, one, 400, images=1) / 4, draws(model, one, 200) / 4
    assert stats.kstest(drawn, "beta", args=(0.5, 1.5)).pvalue > 1e-4
    assert np.var(many) == pytest.approx(np.var(drawn) / 8, rel=0.5)


def test_an_exact_jacobian_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rng, "normal", None)
    term(mlp(), regularizers.Jacobian(n_proj=0))
    with pytest.raises(Exception, match="not callable"):
        term(mlp(), regularizers.Jacobian())


# Logits.


def test_entropy_is_that_of_the_softmax() -> None:
    logits = torch.randn(5, 4, generator=GENERATOR, dtype=torch.float64)
    wanted = np.mean(stats.entropy(logits.softmax(-1).numpy(), axis=1))
    assert float(regularizers.entropy(logits)) == pytest.approx(wanted, rel=1e-12)
    assert float(regularizers.entropy(torch.tensor([[900.0, -900.0]]))) == 0


def test_the_confidence_penalty_is_torchs_entropy_and_rewards_it() -> None:
    model, plain = mlp(), mlp()
    wanted = -0.3 * torch.distributions.Categorical(logits=plain(X)).entropy().mean()
    found = term(model, regularizers.ConfidencePenalty(0.3))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    same_gradients(found, wanted, model, plain)


# Singular values.


class Convolutional(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(3)
        super().__init__(nn.Conv2d(2, 5, 2), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(30, 4))
        self.double()


def largest(model: nn.Module) -> list[Tensor]:
    weights = [value.flatten(1) for value in model.parameters() if value.ndim > 1]
    return [torch.linalg.matrix_norm(value, ord=2) for value in weights]


@pytest.mark.parametrize("make", [mlp, Convolutional])
def test_the_spectral_penalty_is_that_of_the_svd_and_so_is_its_gradient(make: Any) -> None:
    model, plain = make(), make()
    wanted = 0.3 / 2 * torch.stack(largest(plain)).square().sum()
    found = term(model, regularizers.SpectralPenalty(0.3, iterations=300))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-10)
    for one, two in zip(gradients(found, model), gradients(wanted, plain), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


def test_the_power_iteration_goes_on_from_step_to_step() -> None:
    model = mlp()
    weight(model).data = weight(model).data.flip(1) * 3 + 1
    member = regularizers.SpectralPenalty(2)
    objective = Objective(model, [member])
    weight(model).data = torch.randn(10, 24, generator=GENERATOR, dtype=torch.float64)  # other weights from here on
    wanted = torch.stack(largest(model)).square().sum().item()
    found = [objective(X, Y, step)[1]["spectral_penalty"].item() for step in range(200)]
    assert found[0] < 0.95 * wanted
    assert all(later > earlier * (1 - 1e-12) for earlier, later in itertools.pairwise(found))  # from below
    assert found[-1] == pytest.approx(wanted, rel=1e-9)
    assert all(torch.linalg.vector_norm(value).item() == pytest.approx(1) for value in
               (value for name, value in member.named_buffers() if name != "strength"))  # fmt: skip


def test_the_vectors_start_near_their_end_and_do_not_depend_on_torchs_seed() -> None:
    models, objectives = [mlp(), mlp(), mlp()], []
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        objectives.append(Objective(model, [regularizers.SpectralPenalty(2)]))
        assert torch.initial_seed() == seed
    wanted = torch.stack(largest(models[0])).square().sum().item()
    values = [one(X, Y, 0)[1]["spectral_penalty"].item() for one in objectives]
    assert values[0] == values[1] == values[2]
    assert 0.97 * wanted < values[0] <= wanted * (1 + 1e-12)


def test_the_penalty_holds_the_largest_singular_values_of_a_training() -> None:
    splits = noise()
    norms = {}
    for strength in (0, 0.05):
        members = [regularizers.SpectralPenalty(strength), regularizers.Cosine()]  # at the end nothing moves any more
        run = train(mlp(), members, splits, epochs=15, batch_size=8, learning_rate=0.1)
        norms[strength] = torch.stack(largest(run.model)).square().sum().item()
        if strength:  # what it took for the largest was the largest
            assert run.history[-1]["spectral_penalty"] == pytest.approx(strength / 2 * norms[strength], rel=0.03)
    assert norms[0.05] < 0.7 * norms[0]


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(UsageError, match="spectral_penalty: this model has no weights of two or more dimensions"):
        Objective(nn.Flatten(), [regularizers.SpectralPenalty()])


# Weight decay.


def noise() -> Splits:
    """Forty random images with random labels, in float64."""

    def part(count: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(count, 2, 3, 4, generator=generator, dtype=torch.float64)
        return Split(x, torch.randint(4, (count,), generator=generator), tuple("abcd"), torch.arange(count))

    return Splits(part(40, 0), part(24, 1), part(8, 2), "noise", tuple("abcd"), (2, 3, 4), "hash", 0)


def furthest(first: nn.Module, second: nn.Module) -> float:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return max((one - two).abs().max().item() for one, two in pairs)


OPTIMIZERS = [("sgd", 0.0, False), ("sgd", 0.9, False), ("adam", 0.9, False), ("adamw", 0.9, True)]


@pytest.mark.parametrize(("optimizer", "momentum", "decoupled"), OPTIMIZERS)
@pytest.mark.parametrize("extra", [[], [regularizers.Cosine()]], ids=["constant", "cosine"])
def test_weight_decay_is_that_of_torchs_optimizers(
    optimizer: str, momentum: float, decoupled: bool, extra: list[Regularizer]
) -> None:
    recipe = Recipe(epochs=6, batch_size=8, optimizer=optimizer, momentum=momentum, learning_rate=0.02)
    member = regularizers.WeightDecay(0.3, decoupled=decoupled, params="all")
    splits = noise()
    found = train(mlp(), [member, *extra], splits, recipe=recipe)
    wanted = train(mlp(), extra, splits, recipe=replace(recipe, weight_decay=0.3))
    plain = train(mlp(), extra, splits, recipe=recipe)
    assert furthest(found.model, wanted.model) < 1e-12
    assert furthest(plain.model, wanted.model) > 1e-2


def test_weight_decay_is_torchs_in_float32() -> None:
    splits = noise()
    parts = {name: getattr(splits, name) for name in ("train", "val", "test")}
    single = replace(splits, **{name: replace(part, x=part.x.float()) for name, part in parts.items()})
    recipe = Recipe(epochs=3, batch_size=8, momentum=0.9, learning_rate=0.02)
    found = train(mlp().float(), [regularizers.WeightDecay(0.3, params="all")], single, recipe=recipe)
    wanted = train(mlp().float(), [], single, recipe=replace(recipe, weight_decay=0.3))
    assert furthest(found.model, wanted.model) < 1e-6


def test_decoupled_decay_without_a_gradient_is_a_product() -> None:
    """Where the loss has no slope nothing but the decay moves the weights: by (1 - rate * strength) each step."""
    objective = Objective(mlp(), [regularizers.WeightDecay(0.5, decoupled=True)])
    before = {name: value.detach().clone() for name, value in objective.network.named_parameters()}
    weights: Any = before
    for rate in (0.1, 0.3, 0.02):
        objective.network.load_state_dict(weights)
        weights = objective.after_step(weights, rate, 0)
    share = (1 - 0.05) * (1 - 0.15) * (1 - 0.01)
    for name, value in weights.items():
        torch.testing.assert_close(value, before[name] * (share if value.ndim > 1 else 1), rtol=1e-12, atol=0)


def test_coupled_decay_is_seen_by_momentum_and_decoupled_is_not() -> None:
    splits = noise()
    recipe = Recipe(epochs=4, batch_size=8, momentum=0.9, learning_rate=0.02)
    models = [
        train(mlp(), [regularizers.WeightDecay(0.3, decoupled=flag)], splits, recipe=recipe).model
        for flag in (False, True)
    ]
    assert furthest(*models) > 1e-2
    recipe = replace(recipe, momentum=0.0)
    models = [
        train(mlp(), [regularizers.WeightDecay(0.3, decoupled=flag)], splits, recipe=recipe).model
        for flag in (False, True)
    ]
    assert furthest(*models) < 1e-12


@pytest.mark.parametrize("decoupled", [False, True])
def test_weights_alone_decay_unless_all_is_said(decoupled: bool) -> None:
    objective = Objective(mlp(), [regularizers.WeightDecay(0.5, decoupled=decoupled)])
    params = {name: value.detach().clone() for name, value in objective.network.named_parameters()}
    zeros = {name: torch.zeros_like(value) for name, value in params.items()}
    pulls = {name: 0.5 * value for name, value in params.items() if value.ndim > 1}
    given = objective.gradient(zeros, 0)
    after = objective.after_step(params, 0.1, 0)
    for name, value in params.items():
        pull = pulls.get(name, torch.zeros_like(value))
        torch.testing.assert_close(given[name], torch.zeros_like(value) if decoupled else pull)
        torch.testing.assert_close(after[name], value - 0.1 * pull if decoupled else value)


KNOBS: list[tuple[type[Regularizer], dict[str, Any]]] = [
    (regularizers.WeightDecay, {"decoupled": True, "strength": 0.5, "params": "all"}),
    (regularizers.Jacobian, {"n_proj": 0, "strength": 0.1}),
    (regularizers.Jacobian, {"n_proj": 3}),
    (regularizers.SpectralPenalty, {"iterations": 2, "strength": 0.1}),
]


@pytest.mark.parametrize(("kind", "knobs"), KNOBS, ids=str)
def test_the_laws_hold_at_other_knobs(kind: type[Regularizer], knobs: dict[str, Any]) -> None:
    assert [row for row in check(kind, **knobs) if row["status"] == "failed"] == []


def test_a_regularizer_can_be_prepared_twice() -> None:
    member = regularizers.SpectralPenalty(2)
    first = term(mlp(), member).item()
    assert term(linear(), copy.deepcopy(member)).item() != first
    assert term(mlp(), member).item() == first
