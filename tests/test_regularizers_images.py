"""The regularizers that change images or labels, against torchvision, NumPy and what can be read off ramps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TV

from robustreg import regularizers
from robustreg.data.split import Split, Splits
from robustreg.errors import PluginError
from robustreg.hookspecs import hookimpl
from robustreg.noise import Rng
from robustreg.objective import Objective
from robustreg.regularizer import Regularizer
from robustreg.testing import check
from robustreg.training import train

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(8, 2, 7, 9, generator=GENERATOR, dtype=torch.float64)
Y = torch.arange(8) % 4
ROWS = torch.eye(4, dtype=torch.float64)[Y]
GEOMETRY = [
    regularizers.Rotate,
    regularizers.Affine,
    regularizers.Crop,
    regularizers.ResizedCrop,
    regularizers.Cutout,
    regularizers.CutMix,
]
BILINEAR = v2.InterpolationMode.BILINEAR


def learned_from(regularizer: Regularizer, x: Tensor = X, y: Tensor = ROWS, key: int = 0) -> tuple[Tensor, Tensor]:
    """The batch that the network is trained on, at last."""
    seen: list[Tensor] = []

    class Look(Regularizer):
        """Keep the batch."""

        name = "look"

        @hookimpl
        def penalty(self, x: Tensor, y: Tensor) -> None:
            seen.extend((x, y))

    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), y.shape[-1]).to(x.dtype))
    Objective(model, [regularizer, Look()])(x, y, key)
    return seen[0], seen[1]


def numbers(low: float, high: float, count: int = 8, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)


def uniform(values: Tensor, low: float, high: float) -> bool:
    """Whether numbers look drawn uniformly between these limits, and none lies beyond them."""
    inside = values.min() >= low - 1e-4 * (high - low) and values.max() <= high + 1e-4 * (high - low)
    return bool(inside) and stats.kstest(values.double().numpy(), "uniform", args=(low, high - low)).pvalue > 1e-4


# What all have in common.


@pytest.mark.parametrize("kind", GEOMETRY, ids=lambda kind: kind.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_strength_0_the_batch_is_the_batch_bit_for_bit(kind: type[Regularizer], dtype: torch.dtype) -> None:
    for key in range(5):
        x, y = learned_from(kind(0), X.to(dtype), ROWS.to(dtype), key)
        assert torch.equal(x, X.to(dtype))
        assert torch.equal(y, ROWS.to(dtype))


@pytest.mark.parametrize("kind", GEOMETRY, ids=lambda kind: kind.name)
def test_images_of_a_batch_are_changed_each_in_its_own_way_and_stay_in_range(kind: type[Regularizer]) -> None:
    same = X[:1].expand(64, -1, -1, -1).contiguous()
    if kind is regularizers.CutMix:  # needs partners that differ
        same = torch.rand(64, 2, 7, 9, generator=GENERATOR, dtype=torch.float64)
    x, _ = learned_from(kind(), same, torch.eye(4, dtype=torch.float64)[torch.arange(64) % 4])
    assert len(x.flatten(1).unique(dim=0)) > 5
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1
    assert x.shape == same.shape
    assert not torch.equal(x, learned_from(kind(), same, torch.eye(4, dtype=torch.float64)[Y.repeat(8)], key=1)[0])


@pytest.mark.parametrize("kind", GEOMETRY, ids=lambda kind: kind.name)
def test_what_moves_pixels_needs_images(kind: type[Regularizer]) -> None:
    with pytest.raises(
        PluginError, match=rf"{kind.name} needs images \(batch, channels, height, width\), got \(8, 126"
    ):
        learned_from(kind(), X.flatten(1))


@pytest.mark.parametrize("count", [1, 3, 5, 11])
@pytest.mark.parametrize("kind", GEOMETRY, ids=lambda kind: kind.name)
def test_batches_of_any_size_have_the_same_bits_in_a_stack(kind: type[Regularizer], count: int) -> None:
    x = torch.rand(3, count, 2, 7, 9, generator=GENERATOR)
    y = torch.eye(4)[torch.arange(count) % 4]
    member = kind()

    def one(x: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = member.batch(x, y, Rng(key))  # type: ignore[operator]
        return found

    keys = [5, 6, 7]
    together = torch.vmap(one)(x, torch.tensor(keys))
    for at, key in enumerate(keys):
        alone: tuple[Tensor, Tensor] = member.batch(x[at], y, Rng(key))  # type: ignore[operator]
        assert torch.equal(together[0][at], alone[0])
        assert torch.equal(together[1][at], alone[1])


# Rotation and affine maps.


@pytest.mark.parametrize("degrees", [-170.0, -30.0, 0.0, 7.5, 90.0])
def test_rotate_is_torchvisions(degrees: float) -> None:
    found = regularizers.rotate(X, torch.full((8,), degrees))
    torch.testing.assert_close(found, TV.rotate(X, -degrees, BILINEAR), atol=1e-5, rtol=0)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_right_angles_turn_squares_clockwise(turns: int) -> None:
    square = X[..., :7]
    found = regularizers.rotate(square, torch.full((8,), 90.0 * turns, dtype=torch.float64))
    torch.testing.assert_close(found, square.rot90(-turns, (2, 3)))


def test_affine_is_torchvisions_image_by_image() -> None:
    degrees, shear, zoom = numbers(-60, 60), numbers(-30, 30, seed=2), numbers(0.5, 2, seed=3)
    right, down = numbers(-3, 3, seed=4), numbers(-2, 2, seed=5)
    found = regularizers.affine(X, degrees, zoom, shear, right, down)
    for at in range(8):
        angle, scale, slant = (float(value[at]) for value in (degrees, zoom, shear))
        move = [float(right[at]), float(down[at])]
        wanted = TV.affine(X[at], angle, move, scale, [slant, 0.0], BILINEAR)
        torch.testing.assert_close(found[at], wanted, atol=1e-5, rtol=0)


def ramps(count: int, size: int = 41) -> Tensor:
    """Images whose two channels say in which column and row a pixel is: sampled between pixels, they say where."""
    at = torch.arange(size, dtype=torch.float64) / (size - 1)
    return torch.stack((at.expand(size, size), at[:, None].expand(size, size))).expand(count, -1, -1, -1)


def sources(x: Tensor, row: int, column: int) -> Tensor:
    """Where a pixel of each image comes from: (right, down) of the middle, in pixels."""
    return (x[:, :, row, column] - 0.5) * (x.shape[-1] - 1)


def amounts(x: Tensor) -> dict[str, Tensor]:
    """What an affine map of ramps was, read off its middle: M = turn * shear * zoom, and the shift."""
    middle = x.shape[-1] // 2
    origin = sources(x, middle, middle)
    inverse = torch.stack(
        (sources(x, middle, middle + 1) - origin, sources(x, middle + 1, middle) - origin), 2
    )  # of (right, down) to (right, down)
    matrix = torch.linalg.inv(inverse)
    zoom = matrix[:, :, 0].norm(dim=1)
    angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    upright = torch.stack(
        (torch.stack((angle.cos(), angle.sin()), 1), torch.stack((-angle.sin(), angle.cos()), 1)), 1
    ) @ matrix  # fmt: skip
    slope = -upright[:, 0, 1] / upright[:, 1, 1]
    move = -(matrix @ origin[:, :, None])[:, :, 0]
    return {
        "degrees": angle.rad2deg(),
        "zoom": zoom.log(),
        "shear": slope.atan().rad2deg(),
        "right": move[:, 0],
        "down": move[:, 1],
    }


LABELS = torch.eye(2, dtype=torch.float64)[torch.arange(2000) % 2]


@pytest.mark.parametrize("strength", [5.0, 25.0])
def test_angles_are_uniform_up_to_strength_and_nothing_else_moves(strength: float) -> None:
    found = amounts(learned_from(regularizers.Rotate(strength), ramps(2000), LABELS)[0])
    assert uniform(found.pop("degrees"), -strength, strength)
    assert max(float(value.abs().max()) for value in found.values()) < 1e-4


LIMITS: dict[str, Any] = {"degrees": 20.0, "translate": 0.15, "zoom": 0.2, "shear": 8.0}


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_affine_draws_each_amount_uniformly_up_to_strength_times_its_limit(strength: float) -> None:
    found = amounts(learned_from(regularizers.Affine(strength, **LIMITS), ramps(2000), LABELS)[0])
    pixels = 41 * 0.15
    limits = {"degrees": 20, "right": pixels, "down": pixels, "shear": 8}
    for name, limit in limits.items():
        assert uniform(found[name], -strength * limit, strength * limit), name
    assert uniform(found["zoom"], -math.log1p(strength * 0.2), math.log1p(strength * 0.2))
    correlation = torch.corrcoef(torch.stack(list(found.values()))) - torch.eye(5)
    assert float(correlation.abs().max()) < 5 / math.sqrt(2000)


MOVED = [("degrees", {"degrees"}), ("translate", {"right", "down"}), ("zoom", {"zoom"}), ("shear", {"shear"})]


@pytest.mark.parametrize(("knob", "moved"), MOVED)
def test_an_affine_knob_at_0_is_off_and_leaves_the_others_draws(knob: str, moved: set[str]) -> None:
    whole = amounts(learned_from(regularizers.Affine(1, **LIMITS), ramps(50), LABELS[:50])[0])
    found = amounts(learned_from(regularizers.Affine(1, **{**LIMITS, knob: 0.0}), ramps(50), LABELS[:50])[0])
    for name, value in found.items():
        wanted = torch.zeros_like(value) if name in moved else whole[name]
        torch.testing.assert_close(value, wanted, atol=1e-4, rtol=0)


# Crops.


@pytest.mark.parametrize("fill", ["reflect", "edge", "zero"])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, -2), (-3, 3), (6, -6), (-2, 0)])
def test_crop_is_a_window_of_the_padded_image(fill: str, down: int, right: int) -> None:
    found = regularizers.crop(X, torch.full((8,), down), torch.full((8,), right), fill)
    mode = {"zero": "constant"}.get(fill, fill)
    wanted = TV.crop(TV.pad(X, [6, 6, 6, 6], padding_mode=mode), 6 + down, 6 + right, 7, 9)
    assert torch.equal(found, wanted)


def test_a_mirror_image_goes_on_beyond_its_border() -> None:
    found = regularizers.crop(X, torch.full((8,), -11), torch.full((8,), 20), "reflect").numpy()
    wide = np.pad(X.numpy(), ((0, 0), (0, 0), (11, 0), (0, 20)), mode="reflect")
    np.testing.assert_array_equal(found, wide[:, :, :7, 20:])
    line = torch.rand(8, 1, 1, 5)
    assert torch.equal(line, regularizers.crop(line, torch.arange(8), torch.zeros(8, dtype=torch.int64), "reflect"))


@pytest.mark.parametrize(("strength", "reach"), [(2, 2), (1.9, 1), (0.5, 0)])
@pytest.mark.parametrize("fill", ["reflect", "zero"])
def test_windows_are_uniform_up_to_the_padding(strength: float, reach: int, fill: str) -> None:
    x = torch.zeros(2000, 1, 9, 9, dtype=torch.float64)
    x[:, :, 4, 4] = 1
    found, y = learned_from(regularizers.Crop(strength, fill=fill), x, LABELS)
    inner = slice(4 - reach, 5 + reach)
    counts = torch.bincount(found.flatten(1).argmax(1), minlength=81).reshape(9, 9)[inner, inner]
    assert int(counts.sum()) == 2000
    assert reach == 0 or stats.chisquare(counts.flatten().numpy()).pvalue > 1e-4
    assert torch.equal(y, LABELS)


BOXES = [(0, 0, 7, 9), (1, 2, 3, 4), (6, 8, 1, 1), (2, 0, 5, 9), (0, 3, 2, 6)]


@pytest.mark.parametrize("box", BOXES)
def test_resized_crop_is_torchvisions(box: tuple[int, int, int, int]) -> None:
    found = regularizers.resized_crop(X, *(torch.full((8,), value) for value in box))
    wanted = TV.resized_crop(X, *box, [7, 9], BILINEAR, antialias=False)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


def rectangles(x: Tensor) -> dict[str, Tensor]:
    """The rectangles that resized ramps were cut from, in shares of the image."""
    size, middle = x.shape[-1], x.shape[-1] // 2
    step = sources(x, middle + 1, middle + 1) - sources(x, middle, middle)
    centre = sources(x, middle, middle)
    room = (1 - step) * size / 2
    return {
        "width": step[:, 0],
        "height": step[:, 1],
        "right": centre[:, 0] / room[:, 0],
        "down": centre[:, 1] / room[:, 1],
    }


@pytest.mark.parametrize("strength", [0.3, 0.8])
def test_areas_and_places_of_resized_crops_are_uniform(strength: float) -> None:
    found = rectangles(learned_from(regularizers.ResizedCrop(strength, ratio=1), ramps(2000), LABELS)[0])
    torch.testing.assert_close(found["width"], found["height"], atol=1e-6, rtol=0)
    assert uniform(found["width"] * found["height"], 1 - strength, 1)
    assert uniform(found["right"], -1, 1)
    assert uniform(found["down"], -1, 1)
    assert abs(float(torch.corrcoef(torch.stack((found["right"], found["down"])))[0, 1])) < 5 / math.sqrt(2000)


def test_shapes_of_resized_crops_are_log_uniform_until_they_meet_the_border() -> None:
    found = rectangles(learned_from(regularizers.ResizedCrop(0.99, ratio=2), ramps(2000), LABELS)[0])
    small = found["width"] * found["height"] < 0.24  # at half the area and less, no shape is cut
    shape = (found["width"] / found["height"]).log()
    assert int(small.sum()) > 300
    assert uniform(shape[small], -math.log(2), math.log(2))
    assert float(shape.abs().max()) <= math.log(2) + 1e-4
    assert float(torch.maximum(found["width"], found["height"]).max()) <= 1 + 1e-6


# Rectangles.


def test_a_box_is_what_torchvision_erases() -> None:
    top, left = torch.tensor([0, 2, -1, 5, 0, 3, 6, -9]), torch.tensor([0, 3, 7, -2, 8, 0, 1, 0])
    height, width = torch.tensor([3, 1, 4, 9, 0, 2, 5, 2]), torch.tensor([2, 6, 4, 4, 3, 9, 0, 3])
    found = regularizers.box(X.shape, top, left, height, width)
    for at in range(8):
        first, last = max(int(top[at]), 0), max(int(top[at] + height[at]), 0)
        begin, end = max(int(left[at]), 0), max(int(left[at] + width[at]), 0)
        wanted = TV.erase(X[at], first, begin, last - first, end - begin, torch.tensor(-1.0))
        assert torch.equal(torch.where(found[at], -1.0, X[at]), wanted)


@pytest.mark.parametrize(("strength", "side"), [(0.3, 2), (0.4, 3), (0.58, 4), (2.0, 14)])
def test_cutout_blackens_a_square_whose_middle_is_uniform(strength: float, side: int) -> None:
    found, y = learned_from(
        regularizers.Cutout(strength), torch.ones(4000, 1, 7, 9), torch.eye(2)[torch.arange(4000) % 2]
    )
    cover = np.zeros((7, 9))
    for row in range(7):
        for column in range(9):
            first, begin = row - side // 2, column - side // 2
            cover[max(first, 0) : first + side, max(begin, 0) : begin + side] += 1 / 63
    spread = np.sqrt(cover * (1 - cover) / 4000)
    assert (np.abs((found[:, 0] == 0).double().mean(0).numpy() - cover) <= 5 * spread + 1e-12).all()
    assert set(found.unique().tolist()) == {0.0, 1.0} or side > 9
    for image in (found[:, 0] == 0).numpy()[:200]:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert image.sum() == len(rows) * len(columns)  # one rectangle, and no hole in it
        assert rows[-1] - rows[0] == len(rows) - 1
        assert len(rows) <= side
    assert torch.equal(y, torch.eye(2)[torch.arange(4000) % 2])


def test_cutout_fills_with_its_value() -> None:
    found, _ = learned_from(regularizers.Cutout(0.4, fill=0.25))
    changed = found != X
    assert 0 < int(changed.sum()) < changed.numel()
    assert {0.25} == set(found[changed].tolist())


def test_labels_of_cutmix_are_the_pixels_that_changed_hands() -> None:
    x = (torch.arange(64, dtype=torch.float64) / 64)[:, None, None, None].expand(64, 3, 7, 9)
    mixed, y = learned_from(regularizers.CutMix(), x, torch.eye(64, dtype=torch.float64))
    for at in range(64):
        owners = torch.bincount((mixed[at, 0] * 64).round().long().flatten(), minlength=64)
        torch.testing.assert_close(y[at], owners.double() / 63)
        assert torch.equal(mixed[at, 0], mixed[at, 2])
    others = (y > 0) & ~torch.eye(64, dtype=torch.bool)
    assert int(others.sum(0).max()) == 1  # a permutation: each is a partner once


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_areas_of_cutmix_are_distributed_as_torchvisions(alpha: float) -> None:
    x = (torch.arange(2000, dtype=torch.float64) / 2000)[:, None, None, None].expand(2000, 1, 16, 20)
    found, _ = learned_from(regularizers.CutMix(alpha), x, LABELS)
    areas = (found != x).double().mean((1, 2, 3))
    reference = v2.CutMix(alpha=alpha, num_classes=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [1 - reference.make_params([torch.zeros(2, 1, 16, 20)])["lam_adjusted"] for _ in range(2000)]
    assert stats.ks_2samp(areas.numpy(), drawn).pvalue > 1e-4


def test_cut_and_mix_is_torchvisions() -> None:
    reference = v2.CutMix(num_classes=4)
    wanted = reference.transform(X, {"labels": None, "batch_size": 8, "box": (2, 1, 6, 7), "lam_adjusted": 1 - 24 / 63})
    labels = reference._mixup_label(Y, lam=1 - 24 / 63)
    inside = torch.zeros(8, 1, 7, 9, dtype=torch.bool)
    inside[:, :, 1:7, 2:6] = True
    x, y = regularizers.cut_and_mix(X, ROWS, inside, torch.arange(8).roll(1))
    assert torch.equal(x, wanted)
    torch.testing.assert_close(y.float(), labels)


# Labels.


def relabelled(member: Regularizer, y: Tensor, epoch: int = 0, key: int = 0) -> Tensor:
    objective = Objective(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)), [member])
    x = torch.zeros(len(y), 1, 2, 2)
    same, found = objective.before_epoch(x, y, epoch, key)
    assert same is x
    return found


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("as_rows", [False, True])
def test_a_share_of_labels_is_another_class_uniformly(strength: float, as_rows: bool) -> None:
    y = torch.arange(8000) % 4
    given = torch.eye(4)[y] if as_rows else y
    found = relabelled(regularizers.LabelNoise(strength), given)
    assert found.dtype == given.dtype
    labels = found.argmax(1) if as_rows else found
    wrong = labels != y
    assert stats.binomtest(int(wrong.sum()), 8000, strength).pvalue > 1e-4
    turn = (labels - y)[wrong] % 4
    assert stats.chisquare(torch.bincount(turn, minlength=4)[1:].numpy()).pvalue > 1e-4
    for label in range(4):  # of every class alike
        assert stats.binomtest(int(wrong[y == label].sum()), 2000, strength).pvalue > 1e-5


def test_wrong_labels_are_among_those_that_occur() -> None:
    y = torch.tensor([2, 5, 9]).repeat(100)
    found = relabelled(regularizers.LabelNoise(1), y)
    assert {2, 5, 9} == set(found.tolist())
    assert bool((found != y).all())
    assert torch.equal(torch.full((5,), 7), relabelled(regularizers.LabelNoise(1), torch.full((5,), 7)))


def test_soft_labels_are_said_of_another_class_and_stay_distributions() -> None:
    y = torch.tensor([0.7, 0.2, 0.1, 0.0]).expand(500, 4)
    found = relabelled(regularizers.LabelNoise(0.5), y)
    turned = {tuple(y[0].roll(turn).tolist()) for turn in range(4)}
    assert {tuple(row.tolist()) for row in found} == turned


def test_labels_are_drawn_anew_each_epoch_or_once_for_all() -> None:
    y = torch.arange(400) % 4
    for when, equal in (("epoch", False), ("once", True)):
        objective = Objective(nn.Linear(4, 4), [regularizers.LabelNoise(0.3, when=when)])
        found = [objective.before_epoch(y, y, epoch, 100 + epoch)[1] for epoch in range(3)]
        assert [torch.equal(found[0], later) for later in found[1:]] == [equal] * 2
        assert not torch.equal(found[0], y)
    assert torch.equal(y, relabelled(regularizers.LabelNoise(0), y))
    first, second = (relabelled(regularizers.LabelNoise(0.3, when="once"), y, key=key) for key in (1, 2))
    assert not torch.equal(first, second)  # another seed, other wrong labels


def test_a_network_learns_the_wrong_labels_by_heart_only_when_they_stay() -> None:
    x = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0, 0, 0] > 0.5).long()
    part = Split(x, y, ("a", "b"), torch.arange(30))
    splits = Splits(part, part, part, "toy", ("a", "b"), (1, 4, 4), "hash", 0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2))
    losses = {}
    for when in ("epoch", "once"):
        member = regularizers.LabelNoise(0.4, when=when)
        run = train(model, [member], splits, seed=0, epochs=150, batch_size=10, learning_rate=0.2)
        losses[when] = run.history[-1]["loss"]
    assert losses["once"] < 0.05
    assert losses["epoch"] > 0.3


KNOBS: list[tuple[type[Regularizer], dict[str, Any]]] = [
    (regularizers.LabelNoise, {"when": "once"}),
    (regularizers.Crop, {"fill": "zero"}),
    (regularizers.Affine, {"strength": 3}),
]


@pytest.mark.parametrize(("kind", "knobs"), KNOBS, ids=str)
def test_the_laws_hold_at_other_knobs(kind: type[Regularizer], knobs: dict[str, Any]) -> None:
    assert [row for row in check(kind, **knobs) if row["status"] == "failed"] == []
