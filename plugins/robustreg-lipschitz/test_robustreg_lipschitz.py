"""The plugin keeps the laws of robustreg, and computes what its papers say."""

import copy
from itertools import combinations

import pytest
import torch
from robustreg_lipschitz import SRIP, Lipschitz, Orthogonal, isometry_gap, orthogonality_gap, regularizers
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from robustreg import Objective, Regularizer, testing, train
from robustreg.noise import Rng
from robustreg.regularizers import Dropout, FGSMTraining, Mixup
from robustreg.testing.bench import Bench, batch, data, network
from robustreg.testing.cohorts import batches_are_exact, compare, trained

TEAMS = [*((Mixup, Dropout, FGSMTraining, kind) for kind in regularizers()), *combinations(regularizers(), 2)]


@pytest.mark.parametrize("kind", regularizers(), ids=lambda kind: kind.name)
def test_it_keeps_the_laws(kind: type[Regularizer]) -> None:
    """No law of `robustreg.testing` is broken."""
    assert [row for row in testing.check(kind) if row["status"] == "failed"] == []


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: "+".join(one.name for one in team))
def test_it_gets_on_with_others(team: tuple[type[Regularizer], ...]) -> None:
    """Beside one another, and beside built-in ones, runs that train together end where they end alone."""
    together, alone = trained([Bench(kind, {}) for kind in team], runs=2)
    compare(together, alone, exact=batches_are_exact(*team))


def matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    """Return a random float64 matrix."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (4, 4), (6, 2)])
def test_the_orthogonality_gap_is_that_of_its_formula(rows: int, columns: int) -> None:
    """NumPy's W W^T - I is the oracle, less rows - columns if positive; the gradient is 4 (W W^T - I) W."""
    weight = matrix(rows, columns).requires_grad_()
    gap = weight.detach().numpy() @ weight.detach().numpy().T - torch.eye(rows, dtype=torch.float64).numpy()
    found = orthogonality_gap({"weight": weight, "bias": torch.ones(rows, dtype=torch.float64)})
    assert found.item() == pytest.approx((gap**2).sum() - max(rows - columns, 0))
    (slope,) = torch.autograd.grad(found, weight)
    torch.testing.assert_close(slope, torch.from_numpy(4 * gap @ weight.detach().numpy()))


@pytest.mark.parametrize("shape", [(3, 2, 2, 2), (20, 5)])
def test_an_orthogonal_weight_has_no_gap(shape: tuple[int, ...]) -> None:
    """torch's orthogonal initialization is the oracle; kernels count as matrices of outputs by all else."""
    weight = nn.init.orthogonal_(torch.empty(shape, dtype=torch.float64))
    assert orthogonality_gap({"weight": weight}).item() == pytest.approx(0, abs=1e-12)
    start = torch.ones(min(shape[0], weight.numel() // shape[0]), dtype=torch.float64)
    assert isometry_gap(weight, start, 3).item() == pytest.approx(0, abs=1e-12)


def test_the_terms_are_weighted_sums_over_layers() -> None:
    """By the functions above; SRIP starts anew each step, from noise keyed by the layer's name."""
    model, (x, y) = network(), batch("classification")
    _, terms = Objective(model, [Orthogonal(0.5), SRIP(0.25, iterations=3)])(x, y, 7)
    layers = {name: value for name, value in model.named_parameters() if value.ndim > 1}
    assert len(layers) == 3
    assert terms["orthogonal"].item() == pytest.approx(0.5 * orthogonality_gap(layers).item())
    rng = Rng(7).split("srip")
    starts = {name: rng.split(name).normal(min(value.flatten(1).shape)) for name, value in layers.items()}
    wanted = sum(isometry_gap(value, starts[name], 3).item() for name, value in layers.items())
    assert terms["srip"].item() == pytest.approx(0.25 * wanted)


@pytest.mark.parametrize(("rows", "columns", "size"), [(3, 5, 1), (6, 4, 1), (3, 5, 0.3)])
def test_the_isometry_gap_is_the_largest_absolute_eigenvalue(rows: int, columns: int, size: float) -> None:
    """LAPACK's eigenvalues of W^T W - I are the oracle: reached after many iterations, not exceeded after few."""
    weight = size * matrix(rows, columns)
    short = weight if rows <= columns else weight.mT
    gap = short @ short.mT - torch.eye(len(short), dtype=torch.float64)
    largest = float(torch.linalg.eigvalsh(gap).abs().max())
    start = matrix(len(short), 1, seed=1).flatten()
    assert isometry_gap(weight, start, 500).item() == pytest.approx(largest)
    assert 0 < isometry_gap(weight, start, 1).item() < largest


def test_the_gradient_of_the_isometry_gap_is_that_of_the_eigenvalue() -> None:
    """Autograd through LAPACK's largest singular value is the oracle: here it is sigma**2 - 1."""
    weight = (2 * matrix(3, 5)).requires_grad_()
    (found,) = torch.autograd.grad(isometry_gap(weight, torch.ones(3, dtype=torch.float64), 500), weight)
    (wanted,) = torch.autograd.grad(torch.linalg.matrix_norm(weight, 2) ** 2 - 1, weight)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_no_layer_is_above_the_bound_after_a_training(strength: float) -> None:
    """Exact singular values of what was trained are the oracle; without the projection they are above it."""
    free, bound = (
        train(network(), members, data("classification"), epochs=10, batch_size=8, learning_rate=0.2).model
        for members in ([], [Lipschitz(strength, iterations=5)])
    )
    norms = [
        max(float(torch.linalg.matrix_norm(one.detach().flatten(1), 2)) for one in model.parameters() if one.ndim > 1)
        for model in (free, bound)
    ]
    assert norms[0] > 1.1 / strength
    assert 0.9 / strength < norms[1] <= 1.001 / strength


def test_at_strength_1_it_is_spectral_normalization_of_layers_above_norm_1() -> None:
    """torch's parametrization, iterated as long, gives the same weight; a smaller layer is left as it is."""
    large, small = nn.Linear(5, 4, dtype=torch.float64), nn.Linear(4, 3, dtype=torch.float64)
    with torch.no_grad():
        large.weight.mul_(10)
        small.weight.mul_(0.1)
    objective = Objective(copy.deepcopy(nn.Sequential(large, small)), [Lipschitz(1, iterations=200)])
    found = objective.after_step({}, 0.1, 0)
    normalized: nn.Module = parametrizations.spectral_norm(copy.deepcopy(large), n_power_iterations=200)
    torch.testing.assert_close(found["0.weight"], normalized.weight)
    assert torch.equal(found["1.weight"], small.weight)
    assert torch.equal(found["0.bias"], large.bias)
