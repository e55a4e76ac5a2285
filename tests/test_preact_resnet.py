"""The pre-activation ResNet-18: its size, its shapes, and its function written out by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustreg.layers import Normalize
from robustreg.models import check_fits, count_parameters, preact_resnet18


def expected_parameters(channels: int, classes: int, width: int) -> int:
    """Convolutions without biases, two numbers a channel for each normalization, one linear layer."""
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    total = 9 * channels * width
    for before, after in pairwise(widths):
        first = 2 * before + 9 * before * after + 2 * after + 9 * after * after
        second = 2 * after + 9 * after * after + 2 * after + 9 * after * after
        total += first + second + (before * after if before != after else 0)
    return total + 2 * widths[-1] + widths[-1] * classes + classes


def test_it_has_the_11_17_million_parameters_of_the_papers() -> None:
    assert count_parameters(preact_resnet18((3, 32, 32), 10)) == 11_172_170 == expected_parameters(3, 10, 64)
    # Without the last normalization, as some have it, 11,171,146: 11.17 million either way.
    assert round(11_172_170 / 1e6, 2) == round((11_172_170 - 2 * 512) / 1e6, 2) == 11.17


@pytest.mark.parametrize(("channels", "classes", "width"), [(1, 10, 8), (3, 100, 4)])
def test_its_size_follows_from_its_widths(channels: int, classes: int, width: int) -> None:
    model = preact_resnet18((channels, 32, 32), classes, width=width)
    assert count_parameters(model) == expected_parameters(channels, classes, width)


def by_hand(state: dict[str, Tensor], x: Tensor, mean: float, std: float) -> Tensor:
    """The network in functions alone, from the values of its state in their order, in evaluation mode."""
    values = iter([value for name, value in state.items() if not name.endswith("num_batches_tracked")])

    def norm(z: Tensor) -> Tensor:
        weight, bias, centre, spread = (next(values)[:, None, None] for _ in range(4))
        return (z - centre) / (spread + 1e-5).sqrt() * weight + bias

    def conv(z: Tensor, stride: int = 1) -> Tensor:
        weight = next(values)
        return F.conv2d(z, weight, stride=stride, padding=weight.shape[-1] // 2)

    z = conv((x - mean) / std)
    for stage in range(4):
        for block in range(2):
            stride = 2 if stage and not block else 1
            active = norm(z).relu()
            moved = conv(active, stride)
            moved = conv(norm(moved).relu())
            z = moved + (conv(active, stride) if stride == 2 else z)
    pooled = norm(z).relu().mean((2, 3))
    weight, bias = next(values), next(values)
    assert next(values, None) is None
    return pooled @ weight.T + bias


def test_it_is_the_function_of_the_paper() -> None:
    torch.manual_seed(0)
    model = preact_resnet18((3, 32, 32), 7, width=4, mean=0.5, std=0.25).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    x = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("0.")}
    torch.testing.assert_close(model.eval()(x), by_hand(state, x, 0.5, 0.25), rtol=0, atol=1e-10)


def test_each_later_stage_halves_the_image_and_the_stem_does_not() -> None:
    seen: list[tuple[int, ...]] = []
    model = preact_resnet18((3, 32, 32), 10, width=4)
    for module in model:
        module.register_forward_hook(lambda _module, _inputs, out: seen.append(tuple(out.shape[1:])))
    model(torch.rand(2, 3, 32, 32))
    blocks = [(4, 32, 32), (4, 32, 32), (8, 16, 16), (8, 16, 16), (16, 8, 8), (16, 8, 8), (32, 4, 4), (32, 4, 4)]
    assert isinstance(model[0], Normalize)
    assert seen == [(3, 32, 32), (4, 32, 32), *blocks, (32, 4, 4), (32, 4, 4), (32, 1, 1), (32,), (10,)]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_it_fits_small_images(shape: tuple[int, ...]) -> None:
    check_fits(preact_resnet18(shape, 5, width=4), shape, 5, "preact_resnet18")
