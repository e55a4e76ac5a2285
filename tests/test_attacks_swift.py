"""Short ways through a network, for attacks: each says what the network says, bit for bit."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from robustreg.attacks import input_gradient, pgd
from robustreg.attacks.gradients import outputs
from robustreg.attacks.ladder import Ladder
from robustreg.attacks.losses import SLOPES, cross_entropy, dlr, margin, scale_free
from robustreg.attacks.passes import Passes, counting, tallied
from robustreg.attacks.siblings import Siblings, rows
from robustreg.models import cnn, mlp
from robustreg.pooling import swift_pools

LADDERS: dict[str, list[nn.Module]] = {
    "mlp": [nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)],
    "odd widths, no bias": [nn.Flatten(), nn.Linear(12, 7, bias=False), nn.ReLU(), nn.Linear(7, 3)],
    "nested": [nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), nn.Sequential(nn.ReLU(), nn.Linear(5, 3))],
    "ReLU first and last": [nn.Flatten(), nn.ReLU(), nn.Linear(12, 6), nn.ReLU()],
    "linear": [nn.Flatten(), nn.Linear(12, 3), nn.Linear(3, 3)],
}


def network(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    return copy.deepcopy(nn.Sequential(*LADDERS[name])).to(dtype).requires_grad_(False)


def points(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.rand(count, 1, 3, 4, dtype=dtype), torch.randint(3, (count,))


@pytest.mark.parametrize("name", LADDERS)
@pytest.mark.parametrize("loss", [scale_free, margin, cross_entropy])
@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_ladder_says_what_autograd_says(name, loss, count, dtype):
    model, (x, y) = network(name, dtype), points(count, dtype)
    ladder, before = Ladder.of(model, x), x.clone()
    assert ladder is not None
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        logits = model(leaf)
        (slope,) = torch.autograd.grad(loss(logits, y).sum(), leaf, retain_graph=True)
    for mine, other in zip(input_gradient(ladder, x, y, loss), input_gradient(model, x, y, loss), strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(x, before) and not x.requires_grad
    assert torch.equal(ladder.climb(x)[0], logits) and torch.equal(ladder(x), logits)
    torch.testing.assert_close(input_gradient(ladder, x, y, loss)[2], slope, rtol=1e-4, atol=1e-6)


class Renamed(nn.Linear):
    """A layer that may do anything."""


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 3)),
        nn.Sequential(nn.Flatten(), Renamed(12, 3)),
        nn.Sequential(nn.Flatten(2), nn.Linear(12, 3)),
        nn.Sequential(nn.Linear(4, 3)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(4, 3)),
    ],
    ids=["Tanh", "subclass", "flattened in part", "not flattened", "convolution"],
)
def test_other_networks_are_no_ladders(model):
    assert Ladder.of(model, points(2)[0]) is None


def test_a_hook_or_a_forward_of_its_own_or_autocast_is_not_passed_by():
    x, _ = points(2)
    model = network("mlp")
    handle = model[1].register_forward_hook(lambda layer, inputs, output: 2 * output)
    assert Ladder.of(model, x) is None
    handle.remove()
    assert Ladder.of(model, x) is not None
    model[2].forward = torch.tanh
    assert Ladder.of(model, x) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Ladder.of(network("mlp"), x) is None


def test_the_passes_up_a_ladder_are_counted():
    model, (x, _) = network("mlp"), points(60)
    y = model(x).argmax(-1)
    siblings, by_hand, by_hook = Siblings([model], x, [60]), Passes(), Passes()
    assert siblings.rungs is not None
    with tallied(siblings, [by_hand]):
        found = pgd(siblings, x, y, eps=0.1, steps=10)
    with counting(model, by_hook):
        assert torch.equal(pgd(model, x, y, eps=0.1, steps=10), found)
    assert torch.equal(pgd(model, x, y, eps=0.1, steps=10), found)
    assert by_hand == by_hook and by_hand.backward >= 60


def several(name: str, sizes: tuple[int, ...]) -> tuple[Siblings, Tensor, Tensor]:
    torch.manual_seed(7)
    networks = [network(name) for _ in sizes]
    for parameter in (parameter for one in networks for parameter in one.parameters()):
        parameter.uniform_(-0.4, 0.4)
    x, y = points(sum(sizes))
    return Siblings(networks, x, sizes), x, y


# Alike, unlike enough for groups of their own, some with fewer points than a network is asked about.
@pytest.mark.parametrize("sizes", [(20, 20, 20), (61, 9, 38), (3, 1, 5), (8, 1, 3000), (1500, 9, 1400)])
@pytest.mark.parametrize("name", LADDERS)
@pytest.mark.parametrize("loss", [scale_free, margin, cross_entropy, dlr])
def test_several_networks_climbed_at_once_have_the_bits_of_autograd_and_its_count(name, sizes, loss, monkeypatch):
    monkeypatch.setattr("robustreg.attacks.plan._PADDING", 5000)
    siblings, x, y = several(name, sizes)
    assert siblings.rungs is not None
    tallies, before = [[Passes() for _ in sizes] for _ in range(2)], x.clone()
    with tallied(siblings, tallies[0]):
        found = input_gradient(siblings, x, y, loss)
        assert torch.equal(outputs(siblings, x), found[0])
    leaf = x.clone().requires_grad_()
    with tallied(siblings, tallies[1]):
        logits = siblings(leaf)
        losses = loss(logits, y)
        slope = SLOPES[loss](logits.detach(), y)[1] if loss in SLOPES else None
        (gradient,) = torch.autograd.grad(logits if loss in SLOPES else losses.sum(), leaf, slope)
        with torch.enable_grad():
            siblings(x)
    for mine, other in zip(found, (logits, losses, gradient), strict=True):
        assert torch.equal(mine, other)
    assert tallies[0] == tallies[1] and [count.backward for count in tallies[0]] == list(sizes)
    assert torch.equal(x, before) and gradient.any()


def test_some_points_of_several_networks_are_climbed_alone():
    siblings, x, y = several("mlp", (61, 9, 38))
    whole = input_gradient(siblings, x, y, margin)
    for at in (torch.arange(3), torch.tensor([0, 61, 62, 107]), torch.arange(61, 108), torch.arange(80, 100)):
        for some, every in zip(input_gradient(rows(siblings, at), x[at], y[at], margin), whole, strict=True):
            assert torch.allclose(some, every[at], atol=1e-6)  # of another number of rows
    with torch.no_grad():
        assert rows(siblings, torch.arange(0))(x[:0]).shape == (0, 4)


def test_several_networks_with_another_activation_or_under_autocast_are_asked_with_a_graph():
    siblings, x, y = several("mlp", (30, 30))
    bent = [nn.Sequential(model, nn.Tanh()) for model in siblings.models]
    assert Siblings(bent, x, (30, 30)).chain is not None and Siblings(bent, x, (30, 30)).rungs is None
    gradient = input_gradient(Siblings(bent, x, (30, 30)), x, y, margin)[2]
    assert torch.allclose(gradient[:30], input_gradient(bent[0], x[:30], y[:30], margin)[2], atol=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Siblings(list(siblings.models), x, (30, 30)).rungs is None


def test_a_loss_without_a_derivative_has_one_of_zero_on_a_ladder_too():
    model, (x, y) = network("mlp"), points(20)
    ladder = Ladder.of(model, x)
    assert ladder is not None
    for loss in (lambda logits, y: (logits.argmax(-1) != y).float(), lambda logits, y: logits.detach()[:, 0]):
        for mine, other in zip(input_gradient(ladder, x, y, loss), input_gradient(model, x, y, loss), strict=True):
            assert torch.equal(mine, other)


def test_a_climb_overwrites_nothing_that_a_loss_keeps():
    model, (x, y) = network("ReLU first and last"), points(20)
    kept = torch.ones(20, 6)

    class Keeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits):
            return logits.sum(-1)

        @staticmethod
        def backward(ctx, gradient):
            return kept

    ladder = Ladder.of(model, x)
    assert ladder is not None and (model(x) == 0).any()
    for loss in (lambda logits, y: Keeps.apply(logits), lambda logits, y: logits.sum(-1)):
        for mine, other in zip(input_gradient(ladder, x, y, loss), input_gradient(model, x, y, loss), strict=True):
            assert torch.equal(mine, other)
    assert (kept == 1).all()


POOLS = {
    "2": nn.MaxPool2d(2),
    "3, overlapping, padded": nn.MaxPool2d((3, 2), stride=(2, 1), padding=1),
    "dilated, up to the rim": nn.MaxPool2d(2, stride=3, dilation=2, ceil_mode=True),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("channels", [1, 8])
def test_swift_pools_pool_as_the_layer_does_with_ties_and_nan(name, channels):
    torch.manual_seed(5)
    model = nn.Sequential(POOLS[name])
    x = torch.randint(3, (64, channels, 11, 9)).float()  # full of equal neighbours
    x[0, 0, 4, 4] = torch.nan

    def answer() -> tuple[Tensor, Tensor]:
        leaf = x.clone().requires_grad_()
        y = model(leaf)
        assert y.is_contiguous()
        return y.detach(), torch.autograd.grad(y, leaf, torch.arange(float(y.numel())).view_as(y))[0]

    expected = answer()
    with swift_pools(model), swift_pools(model):
        assert "forward" in vars(model[0])
        found = answer()
    assert "forward" not in vars(model[0])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.nan_to_num(-7), other.nan_to_num(-7))


def test_swift_pools_take_the_short_way_and_give_the_layer_back_after_an_error():
    model, x = nn.Sequential(nn.MaxPool2d(2)), torch.rand(64, 8, 16, 16, requires_grad=True)
    with pytest.raises(ZeroDivisionError), swift_pools(model):
        assert "_Pooled" in type(model(x).grad_fn).__name__
        assert "_Pooled" not in type(model(x[:1]).grad_fn).__name__  # too small to pay
        raise ZeroDivisionError
    assert "_Pooled" not in type(model(x).grad_fn).__name__


def test_torch_func_sees_through_pools_of_any_size():
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    x = torch.rand(300, 1, 8, 8)

    def lost(images: Tensor) -> Tensor:
        return model(images).square().sum()

    wanted = torch.func.grad(lost)(x)
    with swift_pools(model):
        assert torch.equal(torch.func.grad(lost)(x), wanted)
        assert torch.func.vmap(lost)(x.view(2, 150, 1, 8, 8)).sum().isclose(lost(x))
        assert torch.func.jvp(lost, (x,), (x,))[1].isclose((wanted * x).sum())


@dataclass
class Powered:
    """A loss that cannot be hashed."""

    power: float

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        return margin(logits, y).exp() ** self.power


@pytest.mark.parametrize("make", [partial(mlp, (1, 8, 8), 10), partial(cnn, (1, 8, 8), 10)])
def test_a_loss_may_be_any_function(make):
    torch.manual_seed(0)
    model, x, y = make(), torch.rand(20, 1, 8, 8), torch.arange(20) % 10
    images = [
        pgd(model, x, y, eps=0.1, steps=3, loss=loss) for loss in (Powered(1.0), lambda *pair: Powered(1.0)(*pair))
    ]
    assert torch.equal(*images)
