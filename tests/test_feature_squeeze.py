"""Feature squeezing: against NumPy and SciPy; what it hides from a naive attack and not from an adaptive one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from robustreg.attacks import fgsm, pgd
from robustreg.chain import chain_of
from robustreg.data import load_data
from robustreg.data.split import Split
from robustreg.layers import Squeeze, behind, put_in_front, windows
from robustreg.measures.interval_bounds import layers_of
from robustreg.objective import Objective
from robustreg.regularizers import FeatureSqueeze
from robustreg.session import Run
from robustreg.testing.bench import Bench
from robustreg.testing.runner import judge
from robustreg.training import train

X = torch.rand(6, 3, 7, 9, generator=torch.Generator().manual_seed(0)).double()


def mlp(inputs: int = 189) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 10))


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
def test_pixels_are_rounded_to_bits(bits: int) -> None:
    levels = np.linspace(0, 1, 2**bits)
    nearest = levels[np.abs(X.numpy()[..., None] - levels).argmin(-1)]
    np.testing.assert_allclose(Squeeze(bits)(X).numpy(), nearest, atol=1e-15)


def test_eight_bits_leave_whole_numbers_up_to_255_as_they_are() -> None:
    whole = torch.arange(256).reshape(1, 1, 16, 16) / 255
    assert torch.equal(Squeeze(8)(whole), whole)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_the_median_is_scipys(size: int) -> None:
    rounded = Squeeze(8)(X).numpy()
    wanted = ndimage.median_filter(rounded, size=(1, 1, size, size), mode="nearest")
    np.testing.assert_array_equal(Squeeze(8, size)(X).numpy(), wanted)


@pytest.mark.parametrize("size", [0, 1])
def test_a_window_of_one_pixel_or_none_is_no_median(size: int) -> None:
    assert torch.equal(Squeeze(3, size)(X), Squeeze(3)(X))


def test_the_derivative_of_rounding_is_that_of_doing_nothing() -> None:
    x, weight = X.clone().requires_grad_(), torch.randn(X.shape).double()
    (Squeeze(2)(x) * weight).sum().backward()
    assert torch.equal(x.grad, weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [2, 3])
def test_the_derivative_of_the_median_is_that_of_the_windows_mean(size: int) -> None:
    x, weight = X.clone().requires_grad_(), torch.randn(X.shape).double()
    (Squeeze(2, size)(x) * weight).sum().backward()
    change = torch.randn(X.shape).double()
    mean = ndimage.uniform_filter(change.numpy(), size=(1, 1, size, size), mode="nearest")
    assert (x.grad * change).sum().item() == pytest.approx((mean * weight.numpy()).sum(), rel=1e-10)  # type: ignore[operator]


def test_it_runs_inside_vmap_with_its_derivative() -> None:
    squeeze = Squeeze(2, 3)

    def slope(x: Tensor) -> Tensor:
        return torch.func.grad(lambda image: squeeze(image).pow(2).sum())(x)

    together = torch.vmap(slope)(X)
    for one, found in zip(X, together, strict=True):
        torch.testing.assert_close(found, slope(one))
        assert found.abs().sum() > 0


# In front of a network.


def test_the_network_answers_for_squeezed_images_and_keeps_type_and_names() -> None:
    plain = mlp().double()
    found = Objective(copy.deepcopy(plain), [FeatureSqueeze(2, median=3)]).finish()
    assert torch.equal(found(X), plain(Squeeze(2, 3)(X)))
    assert not torch.equal(found(X), plain(X))
    assert type(found) is nn.Sequential
    assert list(found.state_dict()) == list(plain.state_dict())


def test_behind_it_is_the_network_that_was_trained() -> None:
    plain = mlp().double()
    model = FeatureSqueeze(1).finish(copy.deepcopy(plain))
    assert torch.equal(behind(model)(X), plain(X))
    assert torch.equal(model(X), plain(Squeeze(1)(X)))  # it still stands there
    assert torch.equal(behind(plain)(X), plain(X))


def test_hooks_of_others_stay_behind_it() -> None:
    plain = mlp().double()
    plain.register_forward_pre_hook(lambda network, inputs: (inputs[0] / 2,))
    assert torch.equal(behind(put_in_front(copy.deepcopy(plain), Squeeze(1)))(X), plain(X))


def test_copies_and_functional_calls_go_through_it() -> None:
    model = FeatureSqueeze(1).finish(mlp().double())
    wanted = model(X)
    assert torch.equal(copy.deepcopy(model)(X), wanted)
    assert torch.equal(torch.func.functional_call(model, dict(model.named_parameters()), (X,)), wanted)


def test_weights_saved_behind_it_are_loaded_before_or_after_it_is_put_there() -> None:
    trained, early, late = (FeatureSqueeze(2).finish(mlp().double()) for _ in range(3))
    with torch.no_grad():
        for value in trained.parameters():
            value += 1
    early.load_state_dict(trained.state_dict())
    late = mlp().double()
    late.load_state_dict(trained.state_dict())
    assert torch.equal(early(X), trained(X))
    assert torch.equal(FeatureSqueeze(2).finish(late)(X), trained(X))


def test_no_shortcut_through_the_layers_of_the_network_forgets_it() -> None:
    models = [FeatureSqueeze(8).finish(mlp()).eval() for _ in range(2)]
    assert chain_of([behind(model) for model in models], X.float()[None].expand(2, -1, -1, -1, -1)) is not None
    assert chain_of(models, X.float()[None].expand(2, -1, -1, -1, -1)) is None
    assert layers_of(behind(models[0])) is not None
    assert layers_of(models[0]) is None


def test_it_changes_nothing_of_the_training_and_needs_to_be_put_in_front_of_loaded_weights() -> None:
    assert FeatureSqueeze.at_inference
    row = judge("cohort_equals_solo", Bench(FeatureSqueeze, {"median": 3}))
    assert row["status"] == "passed", row["message"]


# On MNIST.


@pytest.fixture(scope="module")
def mnist() -> tuple[Run, Tensor, Tensor]:
    data = load_data("mnist5k", seed=0, train=1500, val=10, test=200)
    run = train(mlp(784), [], data, epochs=12)
    return run, *_batch(data.test)


def _batch(split: Split) -> tuple[Tensor, Tensor]:
    return next(split.batches(None, len(split)))


def right(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return (model(x).argmax(-1) == y).float().mean().item()


def test_a_naive_attack_is_stopped_by_four_bits_and_an_adaptive_one_is_not(mnist: tuple[Run, Tensor, Tensor]) -> None:
    run, x, y = mnist
    model = FeatureSqueeze(4, median=2).finish(copy.deepcopy(run.model))
    naive = right(model, fgsm(behind(model), x, y, eps=0.1), y)
    adaptive = right(model, pgd(model, x, y, eps=0.1, steps=20), y)
    undefended = right(run.model, pgd(run.model, x, y, eps=0.1, steps=20), y)
    assert right(model, x, y) > 0.75
    assert naive > undefended + 0.1
    assert adaptive < naive - 0.1


def test_two_bits_break_where_one_bit_is_partly_real(mnist: tuple[Run, Tensor, Tensor]) -> None:
    run, x, y = mnist
    one, two = (FeatureSqueeze(bits).finish(copy.deepcopy(run.model)) for bits in (1, 2))
    attacked = [right(model, pgd(model, x, y, eps=0.2, steps=20), y) for model in (run.model, one, two)]
    assert attacked[0] < 0.1
    assert attacked[1] > 0.4
    assert attacked[2] < 0.1
    # Real: black and white pixels that move by less than a half are rounded back.
    sharp = x.round()
    assert right(one, sharp, y) > 0.8
    moved = pgd(one, sharp, y, eps=0.2, steps=20)
    assert torch.equal(one(moved), one(sharp))


def test_the_medians_own_derivative_flatters_it(mnist: tuple[Run, Tensor, Tensor]) -> None:
    run, x, y = mnist

    class Own(Squeeze):
        """The derivative of the one pixel that was taken."""

        def forward(self, x: Tensor) -> Tensor:
            return windows(Squeeze(self.bits)(x), self.median).sort(-1).values[..., self.median**2 // 2]

    assert torch.equal(Own(1, 3)(x), Squeeze(1, 3)(x))
    models = [put_in_front(copy.deepcopy(run.model), kind(1, 3)) for kind in (Squeeze, Own)]
    ours, own = (right(model, pgd(model, x, y, eps=0.3, steps=20), y) for model in models)
    assert ours < own - 0.1
