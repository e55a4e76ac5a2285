"""The models: known answers, shapes, and what is said when one does not fit the data."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from robustreg import models
from robustreg.errors import PluginError, UsageError
from robustreg.layers import Normalize
from robustreg.models import check_fits, count_parameters

COLOUR, GREY = (3, 32, 32), (1, 8, 8)


def seeded(build: object, *arguments: object, **options: object) -> nn.Module:
    torch.manual_seed(2021)
    return build(*arguments, **options)  # type: ignore[operator,no-any-return]


def norm(model: nn.Module) -> float:
    return float(torch.cat([value.detach().flatten() for value in model.parameters()]).double().norm())


@pytest.mark.parametrize(
    ("build", "count"),
    [(models.animalnet, 397_571), (models.big_animalnet, 389_247), (models.animalnet_dropout, 815_027)],
)
def test_the_tutorials_networks_have_their_parameters(build: object, count: int) -> None:
    assert count_parameters(seeded(build, COLOUR, 3)) == count


@pytest.mark.parametrize(("build", "start"), [(models.animalnet, 7.3810), (models.big_animalnet, 7.9912)])
def test_the_tutorials_networks_start_at_their_norm(build: object, start: float) -> None:
    assert norm(seeded(build, COLOUR, 3)) == pytest.approx(start, abs=5e-5)


def test_animalnet_is_the_tutorials_function_of_inputs_in_minus_1_to_1() -> None:
    model = seeded(models.animalnet, COLOUR, 3)
    first, second, third = (part for part in model.modules() if isinstance(part, nn.Linear))
    x = torch.rand(4, *COLOUR)
    hidden = second(first((2 * x - 1).flatten(1)).relu()).relu()
    torch.testing.assert_close(model(x), third(hidden))


def test_frozen_parameters_are_not_counted() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    model[0].requires_grad_(False)
    assert count_parameters(model) == 4 * 5 + 5


@pytest.mark.parametrize("shape", [COLOUR, GREY, (1, 1, 1), (2, 5, 3), (1, 28, 28)])
@pytest.mark.parametrize("source", models.models(), ids=lambda source: source.name)
def test_every_model_fits_every_image(source: models.ModelSource, shape: tuple[int, ...]) -> None:
    if source.name == "resnet18" and shape not in (COLOUR, GREY):
        pytest.skip("slow, and the same code")
    model = source.build(shape, 7)
    check_fits(model, shape, 7, source.name)
    assert model(torch.rand(2, *shape)).shape == (2, 7)
    assert source.about


def test_mlp_has_the_widths_asked_for() -> None:
    model = models.mlp(GREY, 10, hidden=(128, 64))
    assert [count_parameters(model)] == [64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10]
    assert count_parameters(models.mlp(GREY, 10, hidden=())) == 650


@pytest.mark.parametrize("build", [models.mlp, models.cnn])
def test_mean_and_std_are_a_layer(build: object) -> None:
    plain, scaled = seeded(build, GREY, 3), seeded(build, GREY, 3, mean=0.4, std=0.2)
    x = torch.rand(2, *GREY)
    torch.testing.assert_close(scaled(x), plain((x - 0.4) / 0.2))


def test_normalization_takes_one_number_a_channel() -> None:
    layer = Normalize((0.1, 0.2, 0.3), (1.0, 2.0, 4.0))
    x = torch.rand(2, *COLOUR)
    expected = torch.stack([(x[:, c] - m) / s for c, (m, s) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 4.0)])], 1)
    torch.testing.assert_close(layer(x), expected)
    assert list(layer.state_dict()) == []


def test_resnet18_keeps_small_images_at_full_size() -> None:
    small, large = models.resnet18(COLOUR, 10), models.resnet18((3, 96, 96), 10)
    assert small[1].conv1.kernel_size == (3, 3)
    assert small[1].conv1.stride == (1, 1)
    assert isinstance(small[1].maxpool, nn.Identity)
    assert large[1].conv1.stride == (2, 2)
    assert isinstance(large[1].maxpool, nn.MaxPool2d)
    assert count_parameters(small) == 11_173_962  # the usual ResNet-18 for CIFAR-10
    assert models.resnet18(GREY, 4)[1].conv1.in_channels == 1


def test_resnet18_says_what_to_do_when_torchvision_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(PluginError, match=r"torchvision cannot be imported .*pip install -U torch torchvision"):
        models.resnet18(COLOUR, 10)


def test_torchvision_is_imported_only_when_it_is_needed() -> None:
    code = "import sys, robustreg.models as m; m.models(); sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_model_for_other_images_is_refused_with_both_shapes() -> None:
    with pytest.raises(UsageError, match=r"model mine cannot take images of shape \(1, 8, 8\): RuntimeError: mat1"):
        check_fits(nn.Sequential(nn.Flatten(), nn.Linear(10, 3)), GREY, 3, "mine")


@pytest.mark.parametrize(
    ("model", "got"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), r"\(2, 4\)"),
        (nn.Flatten(0), r"\(128,\)"),
        (nn.LSTM(8, 3), "cannot take images"),
    ],
)
def test_a_model_without_one_logit_a_class_is_refused(model: nn.Module, got: str) -> None:
    with pytest.raises(UsageError, match=got):
        check_fits(model, GREY, 3, "mine")


class Counting(nn.Module):
    """A layer that counts its calls in a buffer, in evaluation mode too."""

    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x


def test_checking_a_model_leaves_no_trace() -> None:
    head = nn.Sequential(Counting(), nn.Flatten(), nn.Linear(72, 3))
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), *head)
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()
    check_fits(model, GREY, 3, "mine")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(stream, torch.get_rng_state())
    assert [model[0].training, model[1].training, model[2].training] == [True, False, True]
    assert all(value.requires_grad for value in model.parameters())


def test_one_mean_goes_with_a_deviation_for_each_channel_also_of_grey_images():
    x = torch.rand(2, 1, 4, 4)
    wanted = (x - 0.5) / torch.tensor([0.1, 0.2, 0.3]).reshape(-1, 1, 1)
    torch.testing.assert_close(Normalize(0.5, (0.1, 0.2, 0.3))(x), wanted)
