"""What acts on weights and gradients, and RandAugment, against torch, torchvision, scikit-learn and closed forms."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Lasso
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms import InterpolationMode, autoaugment

from robustreg import layers, regularizers
from robustreg.data.split import Split, Splits
from robustreg.hookspecs import hookimpl
from robustreg.noise import Rng
from robustreg.objective import Objective
from robustreg.regularizer import Regularizer
from robustreg.regularizers import averages, rand_augment
from robustreg.session import Run
from robustreg.testing.bench import Bench
from robustreg.testing.runner import judge
from robustreg.training import train

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(8, 2, 5, 6, generator=GENERATOR).double()
Y = torch.arange(8) % 4


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 10), nn.ReLU(), nn.Linear(10, 4)).double()


def splits_of(x: Tensor, y: Tensor) -> Splits:
    part = Split(x, y, tuple("abcd"), torch.arange(len(x)))
    return Splits(part, part, part, "some", part.classes, part.shape, "hash", 0)


def digits(count: int = 40, seed: int = 1) -> Splits:
    generator = torch.Generator().manual_seed(seed)
    return splits_of(torch.rand(count, 2, 5, 6, generator=generator).double(), torch.arange(count) % 4)


class Witness(Regularizer):
    """Keeps the weights after every step."""

    name = "witness"
    seen: ClassVar[list[dict[str, Tensor]]] = []

    @hookimpl(trylast=True)
    def after_step(self, params: dict[str, Tensor]) -> None:
        self.seen.append({name: value.detach().clone() for name, value in params.items()})


@pytest.fixture
def steps() -> Iterator[list[dict[str, Tensor]]]:
    Witness.seen.clear()
    yield Witness.seen
    Witness.seen.clear()


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        (regularizers.SAM, {"strength": 0.5}),
        (regularizers.MaxNorm, {"strength": 0.3}),
        (regularizers.GradClip, {"strength": 0.05}),
        (regularizers.L1, {"strength": 0.05, "proximal": True}),
        (regularizers.EMA, {"strength": 0.8, "warmup": False}),
        (regularizers.SWA, {"strength": 0.8}),
        (regularizers.RandAugment, {"strength": 30, "ops": 1}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_laws_hold_where_it_bites(kind: type[Regularizer], knobs: dict[str, Any]) -> None:
    for law in ("strength_zero_is_baseline", "state_round_trip", "cohort_equals_solo"):
        row = judge(law, Bench(kind, knobs))
        assert row["status"] == "passed", row["message"]


# Sharpness-aware minimization.


def moved_by_hand(model: nn.Module, x: Tensor, y: Tensor, rho: float) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients at w + rho * g / ||g||, with torch's own backward passes; frozen weights stay."""
    model = copy.deepcopy(model)
    trained = [value for value in model.parameters() if value.requires_grad]
    slope = torch.autograd.grad(F.cross_entropy(model(x), y), trained)
    norm = np.sqrt(sum(float((one**2).sum()) for one in slope))
    with torch.no_grad():
        for value, one in zip(trained, slope, strict=True):
            value += rho * one / norm
    loss = F.cross_entropy(model(x), y)
    return loss, list(torch.autograd.grad(loss, trained))


@pytest.mark.parametrize("rho", [0.05, 2.0])
@pytest.mark.parametrize("frozen", [False, True])
def test_sam_takes_loss_and_gradient_at_the_end_of_the_ascent(rho: float, frozen: bool) -> None:
    model = mlp()
    model[1].weight.requires_grad_(not frozen)
    loss, _ = Objective(model, [regularizers.SAM(rho)])(X, Y, 0)
    loss.backward()
    wanted_loss, wanted = moved_by_hand(model, X, Y, rho)
    torch.testing.assert_close(loss, wanted_loss, rtol=1e-12, atol=0)
    found = [value.grad for value in model.parameters() if value.requires_grad]
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-14)
    assert (model[1].weight.grad is None) == frozen


def test_sam_raises_the_loss_by_strength_times_the_norm_of_the_gradient_to_first_order() -> None:
    model = mlp()
    plain = F.cross_entropy(model(X), Y)
    norm = torch.cat([one.flatten() for one in torch.autograd.grad(plain, list(model.parameters()))]).norm()
    loss, _ = Objective(model, [regularizers.SAM(1e-6)])(X, Y, 0)
    assert (loss - plain).item() / 1e-6 == pytest.approx(norm.item(), rel=1e-4)


def test_sam_climbs_and_descends_with_the_same_dropout_mask() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 10), layers.Dropout(0.5), nn.Linear(10, 4)).double().train()
    found, _ = Objective(model, [regularizers.SAM(0.7)])(X, Y, 3)
    drawn: list[Tensor] = []
    model[2].register_forward_hook(lambda layer, inputs, output: drawn.append(output / inputs[0]))
    Objective(model)(X, Y, 3)

    class Same(nn.Module):
        """The mask of that step."""

        def forward(self, x: Tensor) -> Tensor:
            return x * drawn[0].detach()

    fixed = nn.Sequential(model[0], model[1], Same(), model[3])
    wanted, _ = moved_by_hand(fixed, X, Y, 0.7)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=0)


# Max-norm.


@pytest.mark.parametrize("shape", [(6, 9), (5, 2, 3, 3)])
def test_max_norm_is_torchs_renorm_of_rows_and_kernels(shape: tuple[int, ...]) -> None:
    weight = torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)
    weight[2] *= 0.1
    found = regularizers.shortened(weight, torch.tensor(2.0))
    torch.testing.assert_close(found, torch.renorm(weight, 2, 0, 2.0), rtol=1e-6, atol=0)
    assert torch.equal(found[2], weight[2])
    assert (found != weight).flatten(1).any(1).sum() == shape[0] - 1


def test_max_norm_trains_as_sgd_with_a_renorm_after_each_step(steps: list[dict[str, Tensor]]) -> None:
    data, model = digits(20), mlp()
    run = train(model, [regularizers.MaxNorm(0.6)], data, epochs=6, batch_size=20, shuffle=False, learning_rate=0.5)
    optimizer = torch.optim.SGD(model.parameters(), 0.5, 0.9)
    for _ in range(6):
        optimizer.zero_grad()
        F.cross_entropy(model(data.train.x), data.train.y).backward()
        optimizer.step()
        with torch.no_grad():
            for layer in (model[1], model[3]):
                layer.weight.copy_(torch.renorm(layer.weight, 2, 0, 0.6))
    torch.testing.assert_close(dict(run.model.state_dict()), dict(model.state_dict()), rtol=1e-5, atol=1e-6)
    norms = run.model[3].weight.norm(dim=1)  # type: ignore[index]
    assert norms.max() <= 0.6 + 1e-9
    assert (norms > 0.59).any()


# L1 by proximal steps.


def test_shrunk_is_torchs_softshrink() -> None:
    value = torch.randn(50, generator=GENERATOR, dtype=torch.float64)
    found = regularizers.shrunk(value, torch.tensor(0.3, dtype=torch.float64))
    torch.testing.assert_close(found, F.softshrink(value, 0.3), rtol=0, atol=1e-16)
    assert torch.equal(found == 0, value.abs() <= 0.3)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_proximal_l1_ends_at_the_lasso(momentum: float) -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(60, 1, 1, 12, generator=generator).double()
    truth = torch.tensor([2.0, -1, 0.5, *[0] * 9]).double()
    y = (x.flatten(1) @ truth + 0.3 * torch.randn(60, generator=generator).double() + 1.5).unsqueeze(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 1)).double()
    rules = {"epochs": 400, "batch_size": 60, "learning_rate": 0.05, "momentum": momentum}
    penalty = [regularizers.L1(0.4, proximal=True)]
    run = train(model, penalty, splits_of(x, y), task="regression", **rules)
    # scikit-learn halves the squared error; momentum multiplies what the loss does by 1 / (1 - momentum).
    wanted = Lasso(alpha=0.4 * (1 - momentum) / 2, tol=1e-12, max_iter=100_000).fit(x.flatten(1).numpy(), y.numpy())
    found = run.model[1]  # type: ignore[index]
    np.testing.assert_allclose(found.weight[0].detach().numpy(), wanted.coef_, atol=1e-7)
    assert found.bias.item() == pytest.approx(wanted.intercept_[0], abs=1e-6)
    zeros = found.weight[0] == 0
    assert zeros.tolist() == (wanted.coef_ == 0).tolist()
    assert 0 < zeros.sum() < 12


def test_l1_is_a_penalty_or_a_step_and_never_both() -> None:
    plain, proximal = (Objective(mlp(), [regularizers.L1(0.1, proximal=flag)]) for flag in (False, True))
    assert (plain.has("penalty"), plain.has("after_step")) == (True, False)
    assert (proximal.has("penalty"), proximal.has("after_step")) == (False, True)
    assert list(proximal(X, Y, 0)[1]) == ["loss"]


@pytest.mark.parametrize("which", ["weights", "all"])
def test_proximal_l1_shrinks_weights_or_all_by_the_learning_rate_times_strength(which: str) -> None:
    model = mlp()
    member = regularizers.L1(0.5, proximal=True, params=which)
    after = Objective(model, [member]).after_step({}, 0.2, 0)
    for name, value in model.named_parameters():
        wanted = F.softshrink(value, 0.1) if which == "all" or value.ndim > 1 else value
        torch.testing.assert_close(after[name], wanted, rtol=0, atol=1e-15)


# Gradient clipping.


@pytest.mark.parametrize("longest", [0.01, 0.4, 100.0])
def test_grad_clip_is_torchs(longest: float) -> None:
    model = mlp()
    objective = Objective(model, [regularizers.GradClip(longest)])
    objective(X, Y, 0)[0].backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    found = objective.gradient(gradients, 0)
    norm = nn.utils.clip_grad_norm_(model.parameters(), longest)
    assert 0.4 < norm < 100
    for name, value in model.named_parameters():
        torch.testing.assert_close(found[name], value.grad, rtol=1e-12, atol=0)
        assert torch.equal(found[name], gradients[name]) == (longest == 100)


# Averages of weights.


def averaging(member: Regularizer, model: nn.Module, *others: Regularizer, **rules: Any) -> Run:
    return train(model, [member, *others, Witness()], digits(40), **{"epochs": 4, "batch_size": 8} | rules)


@pytest.mark.parametrize("warmup", [False, True])
def test_ema_is_torchs_average_of_the_initial_weights_and_all_steps(
    warmup: bool, steps: list[dict[str, Tensor]]
) -> None:
    model = mlp()
    run = averaging(regularizers.EMA(0.6, warmup=warmup), model)

    def mean(average: Tensor, value: Tensor, number: Tensor) -> Tensor:
        t = int(number) - 1
        decay = min(0.6, (1 + t) / (10 + t)) if warmup else 0.6
        return decay * average + (1 - decay) * value

    average = AveragedModel(model, avg_fn=mean)
    average.update_parameters(model)
    for weights in steps:
        model.load_state_dict(weights)
        average.update_parameters(model)
    assert len(steps) == 20
    torch.testing.assert_close(dict(run.model.state_dict()), dict(average.module.state_dict()), rtol=1e-12, atol=1e-15)


def test_ema_at_its_defaults_forgets_the_initial_weights_in_a_short_training(steps: list[dict[str, Tensor]]) -> None:
    model = mlp()
    torch.nn.init.constant_(model[3].bias, 1000.0)
    rules = {"learning_rate": 0.0}
    for flag, left in ((True, 1.0), (False, 0.98)):
        run = averaging(regularizers.EMA(warmup=flag), model, Jump(), **rules)
        share = run.model[3].bias[0].item() / 1000  # type: ignore[index]
        assert share == pytest.approx(1 - left, abs=0.001) if flag else share == pytest.approx(left, abs=0.001)


class Jump(Regularizer):
    """Puts all weights to 0 in the first step."""

    name = "jump"

    @hookimpl
    def after_step(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: 0 * value for name, value in params.items()}


@pytest.mark.parametrize(("share", "first"), [(0.25, 15), (0.5, 10), (1.0, 0), (0.06, 19), (0.04, None)])
def test_swa_is_torchs_mean_of_the_steps_in_the_last_share(
    share: float, first: int | None, steps: list[dict[str, Tensor]]
) -> None:
    model = mlp()
    run = averaging(regularizers.SWA(share), model)
    average = AveragedModel(model)
    for weights in steps[-1:] if first is None else steps[first:]:  # too small a share: the weights as they are
        model.load_state_dict(weights)
        average.update_parameters(model)
    assert len(steps) == 20
    torch.testing.assert_close(dict(run.model.state_dict()), dict(average.module.state_dict()), rtol=1e-12, atol=1e-15)


def test_a_run_stopped_before_the_last_share_keeps_its_weights(steps: list[dict[str, Tensor]]) -> None:
    class Stop(Regularizer):
        """Stops after two epochs."""

        name = "stop"

        @hookimpl
        def after_epoch(self, epoch: int) -> bool:
            return epoch == 1

    run = averaging(regularizers.SWA(0.4), mlp(), Stop())
    assert len(steps) == 10
    torch.testing.assert_close(dict(run.model.named_parameters()), steps[-1], rtol=0, atol=0)


def test_an_average_holds_the_weights_that_every_other_regularizer_has_left(steps: list[dict[str, Tensor]]) -> None:
    run = averaging(regularizers.SWA(1.0), mlp(), Jump())
    assert all((value == 0).all() for value in run.model.parameters())


def normalized() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 4)).double()


@pytest.mark.parametrize("member", [regularizers.EMA(0.9), regularizers.SWA(0.5)], ids=lambda one: one.name)
def test_batchnorm_sees_the_training_images_with_the_averaged_weights(
    member: Regularizer, steps: list[dict[str, Tensor]]
) -> None:
    run = averaging(member, normalized())
    first, norm = run.model[1], run.model[2]  # type: ignore[index]
    seen = first(digits(40).train.x.flatten(1))
    torch.testing.assert_close(norm.running_mean, seen.mean(0), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(norm.running_var, seen.var(0), rtol=1e-9, atol=1e-12)
    assert norm.momentum == 0.1


def test_statistics_are_means_over_batches_and_a_last_image_alone_is_left_out() -> None:
    model, data = normalized().eval(), digits(513)
    averages.refresh(model, data.train)
    batches = model[1](data.train.x[:512].flatten(1)).split(256)
    torch.testing.assert_close(model[2].running_mean, torch.stack([one.mean(0) for one in batches]).mean(0))
    torch.testing.assert_close(model[2].running_var, torch.stack([one.var(0) for one in batches]).mean(0))
    assert not model.training


def test_statistics_do_not_hang_on_torchs_stream_and_leave_it_alone() -> None:
    models = [nn.Sequential(nn.Flatten(), nn.Dropout(0.5), layers.Dropout(0.5), *normalized()[1:]) for _ in range(2)]
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        averages.refresh(model, digits(40).train)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(models[0][4].running_mean, models[1][4].running_mean)


# RandAugment.

RGB = torch.randint(256, (40, 3, 24, 20), generator=GENERATOR, dtype=torch.uint8)
GRAY = torch.randint(256, (40, 1, 8, 8), generator=GENERATOR, dtype=torch.uint8)
TORCHVISIONS = {
    "identity": "Identity", "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX",
    "translate_y": "TranslateY", "rotate": "Rotate", "brightness": "Brightness", "color": "Color",
    "contrast": "Contrast", "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize",
    "auto_contrast": "AutoContrast", "equalize": "Equalize",
}  # fmt: skip


@pytest.mark.parametrize("images", [RGB, GRAY], ids=["rgb", "gray"])
@pytest.mark.parametrize("magnitude", [0, 9, 20, 30])
@pytest.mark.parametrize("name", rand_augment.OPERATIONS)
def test_every_operation_is_torchvisions(name: str, magnitude: int, images: Tensor) -> None:
    size = (images.shape[2], images.shape[3])
    table = autoaugment.RandAugment()._augmentation_space(31, size)
    magnitudes, signed = table[TORCHVISIONS[name]]
    amount = float(magnitudes[magnitude]) if magnitudes.ndim else 0.0
    assert signed == (name in rand_augment.SIGNED)
    for sign in (1, -1) if signed else (1,):
        wanted = autoaugment._apply_op(images, TORCHVISIONS[name], sign * amount, InterpolationMode.NEAREST, None)
        found = rand_augment.operation(name, magnitude / 30, sign, size)(images)
        # The two generations of torchvision's transforms round what they scale differently.
        off = 1 if name in ("brightness", "color", "contrast", "sharpness", "auto_contrast") else 0
        assert (found.int() - wanted.int()).abs().max() <= off


def test_the_operations_are_all_that_torchvision_has() -> None:
    assert set(TORCHVISIONS.values()) == set(autoaugment.RandAugment()._augmentation_space(31, (8, 8)))
    assert set(TORCHVISIONS) == set(rand_augment.OPERATIONS)


def test_grouped_by_operation_is_image_by_image() -> None:
    found = rand_augment.augmented(RGB, Rng(3), magnitude=12, ops=3)
    drawn = Rng(3).integers(28, 3, 40)
    for at in range(40):
        image = RGB[at : at + 1]
        for choice in drawn[:, at].tolist():
            name = rand_augment.OPERATIONS[choice // 2]
            image = rand_augment.operation(name, 0.4, -1.0 if choice % 2 else 1.0, (24, 20))(image)
        assert torch.equal(found[at], image[0])


def test_operations_and_signs_are_drawn_uniformly(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[tuple[str, float], int] = {}

    def spy(name: str, share: float, sign: float, size: tuple[int, int]) -> Any:
        def count(x: Tensor) -> Tensor:
            drawn[name, sign] = drawn.get((name, sign), 0) + len(x)
            return x

        return count

    monkeypatch.setattr(rand_augment, "operation", spy)
    rand_augment.augmented(torch.zeros(4000, 1, 2, 2, dtype=torch.uint8), Rng(1), magnitude=9, ops=2)
    assert len(drawn) == 28
    assert sum(drawn.values()) == 8000
    assert stats.chisquare(list(drawn.values())).pvalue > 0.001


def test_rand_augment_works_on_floats_as_on_whole_numbers_and_leaves_the_labels() -> None:
    member, y = regularizers.RandAugment(), torch.arange(40)
    whole, same = Objective(mlp(), [member]).before_epoch(GRAY, y, 0, 7)
    floats, _ = Objective(mlp(), [member]).before_epoch(GRAY.double() / 255, y, 0, 7)
    assert torch.equal(same, y)
    assert floats.dtype == torch.float64
    torch.testing.assert_close(floats, whole.double() / 255, rtol=0, atol=1e-12)
    near = (GRAY.clamp(1).double() - 0.4) / 255  # rounded to whole numbers, not cut off
    wanted, _ = Objective(mlp(), [member]).before_epoch(GRAY.clamp(1), y, 0, 7)
    found, _ = Objective(mlp(), [member]).before_epoch(near, y, 0, 7)
    torch.testing.assert_close(found, torch.where(found == near, near, wanted.double() / 255), rtol=0, atol=1e-12)
    other, _ = Objective(mlp(), [member]).before_epoch(GRAY, y, 1, 8)
    assert (other != whole).flatten(1).any(1).float().mean() > 0.5


def test_pixels_that_no_operation_changed_keep_their_bits() -> None:
    x = torch.full((30, 1, 8, 8), 0.3, dtype=torch.float32)  # no multiple of 1 / 255
    found, _ = Objective(mlp(), [regularizers.RandAugment(ops=1)]).before_epoch(x, torch.zeros(30), 0, 7)
    same = (found == x).flatten(1).all(1)
    assert 0 < same.sum() < 30


def test_rand_augment_says_what_images_it_needs() -> None:
    for shape, says in (((4, 2, 8, 8), "2 channels"), ((4, 64), "batch, channels, height, width")):
        with pytest.raises(Exception, match=says):
            Objective(mlp(), [regularizers.RandAugment()]).before_epoch(torch.rand(shape), Y[:4], 0, 0)


def test_torchvision_is_imported_when_images_are_changed_and_not_before() -> None:
    code = "import sys, robustreg.regularizers; print('torchvision' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
