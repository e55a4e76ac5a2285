"""Gradients, margins, sharpness and spectral norms: against closed forms, float64 and brute force."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import robustreg as rr
from robustreg.data import Split, Splits
from robustreg.measures import evaluate, subject_of
from robustreg.measures.geometry import MEASURES, sharpness
from robustreg.measures.spectral import MEASURES as SPECTRAL
from robustreg.measures.spectral import spectral_norms


def splits_of(x, y, classes, train=None):
    def split(x, y):
        return Split(x, y, tuple(map(str, range(classes))), torch.arange(len(y)))

    test = split(x, y)
    train = test if train is None else split(*train)
    names = tuple(f"class {k}" for k in range(classes))
    return Splits(train, test.subset(torch.arange(0)), test, "own", names, tuple(x.shape[1:]), "", 0)


def points(n=60, classes=3, pixels=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 1, pixels, generator=generator), torch.randint(classes, (n,), generator=generator)


def tiny(seed=0, classes=3, pixels=5):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 7), nn.Tanh(), nn.Linear(7, classes))


def test_the_input_gradient_norm_is_that_of_float64_differences():
    x, y = points()
    model = tiny()
    found = evaluate(model, splits_of(x, y, 3), measures=MEASURES)["input_gradient_norm"]
    exact, wide = tiny().double(), x.double()
    total = 0.0
    with torch.no_grad():
        for pixel in range(5):
            step = torch.zeros_like(wide)
            step[..., pixel] = 1e-5
            up, down = (F.cross_entropy(exact(wide + sign * step), y, reduction="none") for sign in (1, -1))
            total += float(((up - down) / 2e-5).abs().mean())
    assert found == pytest.approx(total, rel=1e-5)


def test_the_input_gradient_norm_of_a_linear_model_in_closed_form():
    x, y = points()
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 3))
    weight = model[1].weight.detach().double()
    with torch.no_grad():
        p = model(x).double().softmax(1)
    expected = ((p - F.one_hot(y, 3)) @ weight).abs().sum(1).mean()
    found = evaluate(model, splits_of(x, y, 3), measures=MEASURES)["input_gradient_norm"]
    assert found == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_the_margin_of_a_linear_model_is_the_distance_to_its_boundary(norm, dual):
    x, y = points(61)
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 2))
    weight, bias = model[1].weight.detach().double(), model[1].bias.detach().double()
    y = y % 2
    ahead = (weight[y] - weight[1 - y], bias[y] - bias[1 - y])
    distance = ((ahead[0] * x.flatten(1)).sum(1) + ahead[1]) / ahead[0].norm(p=dual, dim=1)
    found = evaluate(model, splits_of(x, y, 2), norm=norm, measures=MEASURES)
    assert found["margin"] == pytest.approx(float(distance.median()), rel=1e-4)


def test_the_margin_does_not_depend_on_the_scale_of_the_logits_and_flat_points_are_left_out():
    x, y = points(61)
    model = tiny()
    first = evaluate(model, splits_of(x, y, 3), measures=MEASURES)
    with torch.no_grad():
        for value in model[3].parameters():
            value *= 100
    second = evaluate(model, splits_of(x, y, 3), measures=MEASURES)
    assert second["margin"] == pytest.approx(first["margin"], rel=1e-4)
    assert second["input_gradient_norm"] > 2 * first["input_gradient_norm"]
    with torch.no_grad():
        model[1].weight.zero_()
    flat = evaluate(model, splits_of(x, y, 3), measures=MEASURES)
    assert "margin" not in flat and flat["input_gradient_norm"] == 0


class Parabola(nn.Module):
    """Cross-entropy is a given quadratic form of the weights: the logits are (-q, log(1 - e^-q)), the label is 0."""

    def __init__(self, curvature, at):
        super().__init__()
        self.weights = nn.Parameter(at.clone())
        self.register_buffer("curvature", curvature)

    def forward(self, x):
        q = (self.curvature * self.weights**2).sum() / 2
        return torch.stack((-q, torch.log(-torch.expm1(-q)))).expand(len(x), 2)


def test_sharpness_of_a_quadratic_is_the_step_up_its_gradient():
    curvature, at = torch.tensor([4.0, 1.0, 0.5]).double(), torch.tensor([0.3, -0.5, 1.0]).double()
    model = Parabola(curvature, at)
    x, y = torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    gradient = curvature * at
    moved = at + 0.05 * gradient / gradient.norm()
    expected = float((curvature * (moved**2 - at**2)).sum() / 2)
    assert sharpness(model, x, y) == pytest.approx(expected, rel=1e-9)
    # No other step of that length does much better: brute force over directions.
    directions = torch.randn(200_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = at + 0.05 * directions / directions.norm(dim=1, keepdim=True)
    best = float((curvature * (ends**2 - at**2)).sum(1).max() / 2)
    assert best * 0.99 < expected <= best * (1 + 1e-6)
    assert sharpness(model, x, y, rho=0.2) > 4 * expected


def test_sharpness_is_the_step_in_all_weights_at_once_and_leaves_no_trace():
    x, y = points(1300, pixels=5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Dropout(0.5), nn.Linear(7, 3)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = sharpness(model, x, y)
    assert sharpness(model, x, y) == found and found > 0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()) and model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    exact = nn.Sequential(nn.Flatten(), nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Dropout(0.5), nn.Linear(7, 3)).double()
    exact.load_state_dict(before)
    exact.eval()
    first = F.cross_entropy(exact(x.double()), y)
    first.backward()
    length = math.sqrt(sum(float(p.grad.square().sum()) for p in exact.parameters()))
    with torch.no_grad():
        for p in exact.parameters():
            p += 0.05 * p.grad / length
        assert found == pytest.approx(float(F.cross_entropy(exact(x.double()), y) - first), rel=1e-3)


def test_sharpness_is_by_the_labels_it_was_trained_on_and_0_without_a_slope():
    x, y = points()
    model, given = tiny(), (y + 1) % 3
    splits = splits_of(x, y, 3)
    found = evaluate(model, splits, measures=MEASURES, given_labels=given, label_condition="random:1.0")
    assert set(found) == {"per_class_accuracy", "sharpness"}
    assert found["sharpness"] == pytest.approx(sharpness(model, x, given))
    assert found["sharpness"] != pytest.approx(sharpness(model, x, y), rel=1e-3)
    for flat in (nn.Flatten(), nn.Sequential(nn.Flatten(), nn.Linear(5, 5, bias=False), nn.Threshold(10.0, 0.0))):
        assert sharpness(flat, x, y) == 0


def test_accuracy_of_each_class_by_its_name():
    x = torch.eye(3)[[0, 0, 1, 2]].reshape(4, 1, 1, 3)
    found = evaluate(nn.Flatten(), splits_of(x, torch.tensor([0, 1, 1, 1]), 3), measures=MEASURES)
    assert found["per_class_accuracy"] == {"class 0": 1.0, "class 1": pytest.approx(1 / 3)}  # no image of class 2
    assert (
        evaluate(nn.Flatten(), splits_of(x, torch.tensor([0, 1, 1, 1]), 3), task="regression", measures=MEASURES) == {}
    )


def matrix(layer, shape):
    """The matrix of a linear layer, column by column."""
    size = math.prod(shape)
    with torch.no_grad():
        zero = layer(torch.zeros(1, *shape).double())
        return (layer(torch.eye(size).double().reshape(size, *shape)) - zero).flatten(1).T


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Conv2d(2, 4, 3, stride=2, groups=2),
        nn.Conv2d(2, 3, 2, dilation=2, padding=2, padding_mode="circular"),
    ],
    ids=["same", "strided groups", "circular"],
)
def test_the_spectral_norm_of_a_convolution_is_that_of_its_matrix(layer):
    model = nn.Sequential(nn.ReLU(), layer)
    found = spectral_norms(model, torch.rand(3, 2, 6, 5))
    expected = float(torch.linalg.matrix_norm(matrix(layer.double(), (2, 6, 5)), 2))
    assert found == {"1": pytest.approx(expected, rel=2e-3)} and found["1"] <= expected * (1 + 1e-5)


def test_the_spectral_norms_of_linear_layers_and_their_product(monkeypatch):
    model = rr.models.mlp((1, 8, 8), 10, hidden=(20, 12))
    splits = rr.load_data("digits", seed=0)
    found = evaluate(model, splits, measures=SPECTRAL)
    expected = [
        float(torch.linalg.svdvals(layer.weight.detach().double())[0]) for layer in model if hasattr(layer, "weight")
    ]
    assert list(found["spectral_norms"].values()) == pytest.approx(expected)
    assert found["spectral_product"] == pytest.approx(math.prod(expected))
    # It bounds how far logits move.
    a, b = torch.rand(2, 500, 1, 8, 8)
    with torch.no_grad():
        assert ((model(a) - model(b)).norm(dim=1) <= found["spectral_product"] * (a - b).flatten(1).norm(dim=1)).all()
    monkeypatch.setattr("robustreg.measures.spectral.EXACT", 1)
    assert list(spectral_norms(model, splits.test.x).values()) == pytest.approx(expected, rel=2e-3)


def test_spectral_norms_leave_the_network_as_it_was_and_do_not_apply_without_layers():
    splits = rr.load_data("digits", seed=0)
    model = rr.models.cnn((1, 8, 8), 10)
    state = torch.get_rng_state()
    assert set(evaluate(model, splits, measures=SPECTRAL)["spectral_norms"]) == {"0", "3", "7", "9"}
    assert not any(layer._forward_pre_hooks for layer in model.modules()) and model.training
    assert torch.equal(torch.get_rng_state(), state) and all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        model[0].weight.zero_()
    assert spectral_norms(model, splits.test.x)["0"] == 0
    assert evaluate(nn.Flatten(), splits, measures=SPECTRAL) == {}


def test_a_regularized_network_of_digits_gets_every_number():
    splits = rr.load_data("digits", seed=0)
    torch.manual_seed(0)
    model = rr.train(rr.models.mlp((1, 8, 8), 10), [rr.regularizers.Dropout(0.3)], splits, epochs=2).model
    found = evaluate(model, splits, measures=[*MEASURES, *SPECTRAL])
    assert set(found) == {measure.name for measure in (*MEASURES, *SPECTRAL)}
    assert found["sharpness"] > 0 and 0 < found["margin"] < 1
    assert subject_of(model, splits).proved is not None
