"""Interval bounds and certificates: exact where they must be, never above what attacks and random points find."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

import robustreg as rr
from robustreg.attacks import protocol_attacks
from robustreg.layers import Dropout, Normalize
from robustreg.measures import Subject, evaluate, measure_all, subject_of
from robustreg.measures.certified import MEASURES, certified_accuracy, sandwich
from robustreg.measures.interval_bounds import layers_of, propagate, proved


def chain(*kinds, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(*(kind() for kind in kinds))


def box(x, eps):
    return (x - eps).double().clamp(0, 1), (x + eps).double().clamp(0, 1)


def corners(low, high):
    """Every corner of one box, `(2**d, *shape)`."""
    flat = torch.stack((low.flatten(), high.flatten()))
    at = torch.tensor(list(itertools.product((0, 1), repeat=flat.shape[1])))
    return flat.gather(0, at).reshape(-1, *low.shape)


LINEAR = {
    "linear": (chain(lambda: nn.Linear(6, 4)), (6,)),
    "normalize, flatten, linear": (chain(lambda: Normalize(0.3, 0.2), nn.Flatten, lambda: nn.Linear(6, 4)), (1, 2, 3)),
    "linear without bias": (chain(lambda: nn.Linear(6, 4, bias=False)), (6,)),
    "convolution": (chain(lambda: nn.Conv2d(1, 3, 2, padding=1, stride=2)), (1, 3, 3)),
    "grouped, circular": (
        chain(lambda: nn.Conv2d(2, 4, 2, groups=2, padding=1, padding_mode="circular")),
        (2, 2, 2),
    ),
    "average": (chain(lambda: nn.AvgPool2d(2)), (1, 3, 3)),
    "maximum": (chain(lambda: nn.MaxPool2d(2, stride=1)), (1, 3, 3)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_bounds_of_one_layer_are_attained_at_corners(name):
    model, shape = LINEAR[name]
    low, high = box(torch.rand(1, *shape, generator=torch.Generator().manual_seed(1)), 0.2)
    found = propagate(layers_of(model), (low, high))
    with torch.no_grad():
        every = model.double()(corners(low[0], high[0]))
    assert torch.allclose(found[0][0], every.amin(0), atol=1e-12)
    assert torch.allclose(found[1][0], every.amax(0), atol=1e-12)


def test_bounds_of_a_batch_norm_with_a_negative_scale_are_attained():
    model = chain(lambda: nn.BatchNorm1d(5)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -2.0, 0.5, -0.1, 0.0]))
        model[0].running_mean.copy_(torch.linspace(0, 1, 5))
        model[0].running_var.copy_(torch.linspace(0.1, 2, 5))
        low, high = box(torch.full((1, 5), 0.4), 0.3)
        found = propagate(layers_of(model), (low, high))
        every = model.double()(corners(low[0], high[0]))
    assert torch.allclose(found[0][0], every.amin(0)) and torch.allclose(found[1][0], every.amax(0))


@pytest.mark.parametrize("seed", range(5))
def test_bounds_of_a_tiny_network_are_those_of_interval_arithmetic_by_hand_and_hold_at_all_corners(seed):
    model = chain(lambda: nn.Linear(4, 3), nn.LeakyReLU, lambda: nn.Linear(3, 2), seed=seed)
    low, high = box(torch.rand(1, 4, generator=torch.Generator().manual_seed(seed)), 0.15)
    found = propagate(layers_of(model), (low, high))
    ends = (low[0].tolist(), high[0].tolist())
    for layer in model:  # each number on its own
        if isinstance(layer, nn.Linear):
            sums = ([], [])
            for row, bias in zip(layer.weight.double().tolist(), layer.bias.double().tolist(), strict=True):
                pairs = [sorted((w * a, w * b)) for w, a, b in zip(row, *ends, strict=True)]
                sums[0].append(bias + sum(pair[0] for pair in pairs))
                sums[1].append(bias + sum(pair[1] for pair in pairs))
            ends = sums
        else:
            ends = tuple([v if v > 0 else 0.01 * v for v in end] for end in ends)
    assert found[0][0].tolist() == pytest.approx(ends[0]) and found[1][0].tolist() == pytest.approx(ends[1])
    with torch.no_grad():
        every = model.double()(corners(low[0], high[0]))
    assert (found[0] <= every.amin(0)).all() and (every.amax(0) <= found[1]).all()


def linear_model(seed=0):
    model = chain(nn.Flatten, lambda: nn.Linear(16, 4), seed=seed)
    x = torch.rand(300, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        y = model(x).argmax(1)
    y[::7] = (y[::7] + 1) % 4  # wrong ones are never proved
    return model, x, y


def test_the_certificate_of_a_linear_model_is_exact():
    model, x, y = linear_model()
    weight, bias = model[1].weight.detach().double(), model[1].bias.detach().double()
    for eps in (0.0, 0.01, 0.05, 0.1):
        low, high = box(x.flatten(1), eps)
        worst = torch.full((len(x),), torch.inf, dtype=torch.float64)
        for k in range(4):
            ahead = weight[y] - weight[k]
            lead = (torch.where(ahead > 0, low, high) * ahead).sum(1) + bias[y] - bias[k]
            worst = torch.where(y == k, worst, torch.minimum(worst, lead))
        found = proved(layers_of(model), x, y, eps)
        clear = worst.abs() > 1e-4
        assert torch.equal(found[clear], worst[clear] > 0) and 0 < int(found.sum()) < 300
    # Bounding both logits by themselves proves less.
    apart = proved([*layers_of(model), nn.Hardtanh(-1e6, 1e6)], x, y, 0.05)
    joined = proved(layers_of(model), x, y, 0.05)
    assert (apart <= joined).all() and int(apart.sum()) < int(joined.sum())


def test_at_eps_0_what_is_right_is_proved():
    for model in (rr.models.mlp((1, 8, 8), 10, mean=0.3, std=0.3), rr.models.cnn((1, 8, 8), 10)):
        x = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            top = model(x).topk(2).values
            y = model(x).argmax(1)
        clear = top[:, 0] - top[:, 1] > 1e-4
        assert proved(layers_of(model), x, y, 0.0)[clear].all()
        assert not proved(layers_of(model), x, (y + 1) % 10, 0.0).any()


def trained(kind, splits, **settings):
    torch.manual_seed(0)
    arm = [rr.regularizers.L1(1e-3)] if kind == "mlp" else []
    return rr.train(getattr(rr.models, kind)((1, 8, 8), 10), arm, splits, **settings).model


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def network(request):
    splits = rr.load_data("digits", seed=0)
    model = trained(request.param, splits, epochs=15 if request.param == "mlp" else 6)
    return model, splits, 0.01 if request.param == "mlp" else 0.004


def test_ten_thousand_points_of_a_ball_and_its_corners_keep_the_bounds_and_the_label(network):
    model, splits, eps = network
    x, y = splits.test.x[:100], splits.test.y[:100]
    layers = layers_of(model)
    sure = proved(layers, x, y, eps)
    assert 10 < int(sure.sum()) < 95  # neither is trivial
    low, high = propagate(layers, box(x, eps))
    generator = torch.Generator().manual_seed(1)
    for index in sure.nonzero().flatten()[:4].tolist():
        inside = 2 * torch.rand(10_000, 1, 8, 8, generator=generator) - 1
        inside[:5000] = inside[:5000].sign()
        points = (x[index] + eps * inside).clamp(0, 1)
        with torch.no_grad():
            logits = model(points).double()
        assert (logits >= low[index] - 1e-4).all() and (logits <= high[index] + 1e-4).all()
        assert (logits.argmax(1) == y[index]).all()


def test_the_certificate_is_never_above_the_attacks(network):
    model, splits, eps = network
    few = replace(splits, test=splits.test.subset(torch.arange(100)))
    for headline in (eps, 4 * eps):
        subject = subject_of(model, few, eps=[0, headline])
        flag, found = sandwich(subject), measure_all(subject)
        assert flag["level"] == "green" and flag["value"] == 0
        assert found["certified_accuracy"] <= found["robust_accuracy"] <= found["clean_accuracy"]
        assert (
            f"{found['certified_accuracy']:.1%}" in flag["says"] and f"{found['robust_accuracy']:.1%}" in flag["says"]
        )
        broken = subject.attack_report.broken_at <= subject.attack_report.grid.index(headline)
        assert broken.any() and not (subject.proved & broken).any()
    assert certified_accuracy(subject_of(model, few, headline_eps=eps)) > 0.1


def test_a_proof_of_what_an_attack_broke_is_red():
    splits = rr.load_data("digits", seed=0)
    torch.manual_seed(0)
    subject = subject_of(rr.models.mlp((1, 8, 8), 10), splits)
    assert sandwich(subject)["level"] == "green"
    lying = torch.zeros(len(splits.test), dtype=torch.bool)
    lying[(subject.attack_report.broken_at == 0).nonzero()[0]] = True
    subject.__dict__["proved"] = lying
    flag = sandwich(subject)
    assert (
        flag["level"] == "red" and flag["value"] == pytest.approx(1 / len(lying)) and "proof of a bug" in flag["says"]
    )


def test_dropout_in_any_form_does_not_stand_in_the_way():
    splits = rr.load_data("digits", seed=0)
    torch.manual_seed(0)
    dropped = rr.train(rr.models.mlp((1, 8, 8), 10), [rr.regularizers.Dropout(0.5, input=0.1)], splits, epochs=1).model
    dropped.train()  # the certificate is of evaluation mode, whatever the mode
    subject = subject_of(dropped, splits, headline_eps=1e-4)
    assert subject.proved.double().mean() > 0.3 and dropped.training
    with_layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10), Dropout(0.5), nn.Identity())
    assert [type(layer) for layer in layers_of(with_layers)] == [nn.Flatten, nn.Linear]


class Doubled(nn.ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked(register, hook):
    layer = nn.Linear(4, 3)
    getattr(layer, register)(hook)
    return nn.Sequential(layer, nn.ReLU())


UNKNOWN = {
    "a class of its own": Doubled(),
    "a layer of a class of its own": nn.Sequential(nn.Linear(4, 3), Doubled()),
    "a function that falls": nn.Sequential(nn.Linear(4, 3), nn.GELU()),
    "a negative slope": nn.Sequential(nn.LeakyReLU(-0.1)),
    "batch statistics": nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)),
    "an old hook that makes weights": nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 3))),
    "a hook on outputs": hooked("register_forward_hook", lambda layer, inputs, out: -out),
    "a hook on inputs": hooked("register_forward_pre_hook", lambda layer, inputs: (inputs[0].clamp(-1, 1),)),
    "a hook on an activation": nn.Sequential(nn.Linear(4, 3), nn.ReLU()),
}
UNKNOWN["a hook on an activation"][1].register_forward_pre_hook(lambda layer, inputs: (-inputs[0],))


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_understood_has_no_certificate(what):
    assert layers_of(UNKNOWN[what]) is None


def test_parametrized_weights_are_those_in_use():
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))
    layer(torch.rand(8, 4))
    layer.eval()
    low, high = box(torch.full((1, 4), 0.5), 0.1)
    found = propagate(layers_of(nn.Sequential(layer)), (low, high))
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    assert torch.allclose(found[1][0], weight @ torch.full((4,), 0.5).double() + bias + 0.1 * weight.abs().sum(1))


def test_the_measure_does_not_apply_to_l2_corrupted_labels_or_regression_and_leaves_no_trace():
    splits = rr.load_data("digits", seed=0)
    model = rr.models.mlp((1, 8, 8), 10)
    for settings in ({"norm": "l2"}, {"label_condition": "random:1.0"}, {"task": "regression"}):
        assert evaluate(model, splits, measures=MEASURES, **settings) == {}
        assert sandwich(subject_of(model, splits, **settings)) is None
    wrapped = nn.Sequential(model, nn.GELU())
    assert sandwich(Subject(wrapped, splits, attacks=protocol_attacks("quick"))) is None
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert "certified_accuracy" in evaluate(model, splits, measures=MEASURES)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.dtype == torch.float32 and p.requires_grad and p.grad is None for p in model.parameters())
