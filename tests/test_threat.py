"""The threat model: box and budget, against direct definitions."""

import math

import pytest
import torch

from robustreg.errors import UsageError
from robustreg.noise import Rng
from robustreg.threat import ThreatModel

SHAPES = [(7,), (7, 5), (7, 1, 4, 4), (7, 3, 2, 5, 2)]


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


def images(shape, dtype):
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_linf_projection_clamps_to_budget_then_box(shape, dtype):
    x, threat = images(shape, dtype), ThreatModel("linf", 0.1)
    candidate = x + torch.linspace(-0.5, 0.5, x.numel(), dtype=dtype).reshape(shape)
    moved = threat.project(candidate, x)
    naive = torch.minimum(torch.maximum(candidate, x - 0.1), x + 0.1).clamp(0, 1)
    assert torch.equal(moved, naive)
    assert torch.equal(moved, threat.project(candidate, x, threat.bounds(x)))
    assert threat.contains(moved, x).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-3, 0.3, 3.0])
def test_l2_projection_scales_into_the_ball_and_stays_within_it_by_a_millionth(shape, eps, dtype):
    x, threat = images(shape, dtype), ThreatModel("l2", eps)
    candidate = x + torch.linspace(-2, 2, x.numel(), dtype=dtype).reshape(shape)
    moved = threat.project(candidate, x)
    change = (candidate - x).double().reshape(7, -1)
    scaled = change * (eps / change.norm(dim=1, keepdim=True)).clamp(max=1)
    naive = (x.double().reshape(7, -1) + scaled).clamp(0, 1).reshape(shape)
    assert torch.allclose(moved.double(), naive, atol=1e-6)
    assert moved.min() >= 0 and moved.max() <= 1
    assert ((moved.double() - x.double()).reshape(7, -1).norm(dim=1) <= eps * (1 + 1e-6)).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_budget_of_zero_gives_the_image_itself(norm, dtype):
    x = images((5, 6), dtype)
    assert torch.equal(ThreatModel(norm, 0).project(1 - x, x), x)


def test_l2_stays_in_budget_in_high_dimension_in_float32():
    x, threat = images((50, 3, 64, 64), torch.float32), ThreatModel("l2", 0.01)
    moved = threat.start(x, Rng(3), torch.arange(50))
    step = threat.project(threat.step(moved, torch.randn_like(x), 1.0), x)
    length = (step.double() - x.double()).reshape(50, -1).norm(dim=1)
    assert (length <= 0.01 * (1 + 1e-6)).all()
    assert (length[:10] > 0.005).all()


def test_l2_step_has_the_given_length_per_sample_even_for_gradients_whose_squares_underflow(dtype):
    x = torch.full((4, 10), 0.5, dtype=dtype)
    gradient = torch.linspace(-1, 2, 40, dtype=dtype).reshape(4, 10)
    gradient *= torch.tensor([[1.0], [1e-30], [0.0], [torch.nan]], dtype=dtype)
    change = ThreatModel("l2", 1).step(x, gradient, 0.25) - x
    assert torch.allclose(change.norm(dim=1), torch.tensor([0.25, 0.25, 0, 0], dtype=dtype), rtol=1e-5)
    cosine = torch.nn.functional.cosine_similarity(change[:1], gradient[:1])
    assert torch.allclose(cosine, torch.ones(1, dtype=dtype))


def test_linf_step_is_the_sign_and_a_useless_gradient_moves_nothing():
    gradient = torch.tensor([[1e-40, -3.0, 0.0, torch.nan]])
    change = ThreatModel("linf", 1).step(torch.zeros(1, 4), gradient, 0.5)
    assert change.tolist() == [[0.5, -0.5, 0.0, 0.0]]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", SHAPES)
def test_starts_are_allowed_spread_and_keyed_by_sample(norm, shape, dtype):
    x, threat, samples = images(shape, dtype), ThreatModel(norm, 0.2), torch.arange(7) * 11
    start = threat.start(x, Rng(5), samples)
    assert start.dtype == dtype and threat.contains(start, x).all()
    order = torch.tensor([6, 0, 3])
    assert torch.equal(threat.start(x[order], Rng(5), samples[order]), start[order])
    assert not torch.equal(threat.start(x, Rng(6), samples), start)
    assert len(threat.start(x[:0], Rng(5), samples[:0])) == 0


def test_linf_starts_are_uniform():
    x = torch.full((2000, 4), 0.5)
    change = (ThreatModel("linf", 0.2).start(x, Rng(0), torch.arange(2000)) - x) / 0.2
    assert change.abs().max() <= 1.0001
    assert abs(change.mean()) < 0.03 and abs(change.var() - 1 / 3) < 0.02


def test_l2_starts_are_uniform_in_the_ball():
    x = torch.full((4000, 3), 0.5)
    radius = (ThreatModel("l2", 0.4).start(x, Rng(0), torch.arange(4000)) - x).norm(dim=1) / 0.4
    # In d dimensions the d-th power of the radius is uniform in [0, 1].
    assert abs((radius**3).mean() - 0.5) < 0.03 and abs((radius**3).var() - 1 / 12) < 0.01


def test_contains_is_exact_in_linf():
    x = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.95, 0.5]])
    up = torch.nextafter(x[0, 0] + 0.1, torch.tensor(1.0))
    candidate = torch.tensor([[0.6, 0.4], [up, 0.5], [1.01, 0.5]])
    assert ThreatModel("linf", 0.1).contains(candidate, x).tolist() == [True, False, False]
    assert ThreatModel("l2", 0.15).contains(candidate, x).tolist() == [True, True, False]
    assert not ThreatModel("linf", 0.1).contains(x * torch.nan, x).any()


@pytest.mark.parametrize(
    ("norm", "eps", "says"),
    [
        ("l1", 0.1, "norm must be one of linf, l2"),
        ("linf", -0.1, "at least 0"),
        ("linf", 8, "8/255"),
        ("l2", math.inf, "finite"),
        ("linf", math.nan, "finite"),
    ],
)
def test_bad_threat_models_are_refused(norm, eps, says):
    with pytest.raises(UsageError, match=says):
        ThreatModel(norm, eps)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.randn(50, 2), "put the normalisation inside the model as robustreg.layers.Normalize"),
        (torch.full((1, 2), torch.nan), "must lie in"),
        (torch.ones(2, 2, dtype=torch.uint8), "divide by 255"),
    ],
)
def test_images_outside_the_box_are_refused(x, says):
    with pytest.raises(UsageError, match=says):
        ThreatModel("linf", 0.1).check(x)
