"""Corruptions: what each severity does to images, against references of our own, and the accuracy under them."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from scipy import ndimage
from torch import nn

import robustreg as rr
from robustreg.measures import (
    calibration,
    certified,
    corruptions,
    evaluate,
    geometry,
    memorization,
    spectral,
    subject_of,
)
from robustreg.measures.corruptions import MEASURES
from robustreg.measures.degraded import CORRUPTIONS, LEVELS, SEVERITIES, accuracy_on_degraded
from robustreg.noise import Rng, fold, seed_key

SHAPES = [(1, 8, 8), (3, 12, 7), (1, 1, 3), (2, 1, 1)]


def images(shape, n=40, seed=0):
    return Rng(seed).uniform(n, *shape)


def digits():
    return rr.load_data("digits", seed=0)


def test_every_corruption_has_levels_at_five_severities():
    assert set(LEVELS) == set(CORRUPTIONS) and len(CORRUPTIONS) == 9
    assert all(len(level) == 1 + len(SEVERITIES) for level in LEVELS.values())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_0_is_the_image_and_all_stay_images(name, shape):
    x = images(shape)
    before = x.clone()
    assert torch.allclose(CORRUPTIONS[name](x, 0, Rng(1)), x, atol=1e-6)
    for severity in SEVERITIES:
        found = CORRUPTIONS[name](x, severity, Rng(1))
        assert found.shape == x.shape and found.dtype == x.dtype and found.isfinite().all()
        assert float(found.min()) >= 0 and float(found.max()) <= 1
        assert torch.equal(found, CORRUPTIONS[name](x, severity, Rng(1)))
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_is_further_from_the_image(name):
    for x in (digits().test.x, images((3, 16, 16), 60)):
        distance = [
            float((CORRUPTIONS[name](x, s, Rng(2)) - x).square().flatten(1).sum(1).sqrt().mean()) for s in range(6)
        ]
        assert distance[0] == pytest.approx(0, abs=1e-5)
        assert all(low < high for low, high in pairwise(distance)), distance


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "translate", "rotate", "occlusion"])
def test_what_is_random_follows_its_key(name):
    x = images((1, 16, 16))
    assert not torch.equal(CORRUPTIONS[name](x, 3, Rng(1)), CORRUPTIONS[name](x, 3, Rng(2)))


def test_noise_has_the_stated_size():
    grey = torch.full((200, 1, 16, 16), 0.5)
    for severity in (1, 2):
        moved = CORRUPTIONS["gaussian_noise"](grey, severity, Rng(0)) - grey
        assert float(moved.std()) == pytest.approx(LEVELS["gaussian_noise"][severity], rel=0.02)
        moved = CORRUPTIONS["shot_noise"](grey, severity, Rng(0)) - grey
        assert float(moved.std()) == pytest.approx(math.sqrt(0.5 * LEVELS["shot_noise"][severity]), rel=0.02)
        hit = CORRUPTIONS["impulse_noise"](grey, severity, Rng(0))
        for value in (0, 1):
            assert float((hit == value).double().mean()) == pytest.approx(
                LEVELS["impulse_noise"][severity] / 2, rel=0.1
            )
    assert float(CORRUPTIONS["shot_noise"](torch.zeros(2, 1, 4, 4), 5, Rng(0)).max()) == 0  # no light, no photons


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_blur_is_scipys_gaussian_filter(severity):
    x = images((2, 11, 17), 3).double()
    sigma = LEVELS["blur"][severity] * 11
    expected = ndimage.gaussian_filter(
        x.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=(0, 0, *[math.ceil(3 * sigma)] * 2)
    )
    assert torch.allclose(CORRUPTIONS["blur"](x, severity, Rng(0)), torch.from_numpy(expected), atol=1e-9)


def test_brightness_and_contrast_by_hand():
    x = torch.tensor([0.0, 0.2, 0.4, 1.0]).reshape(1, 1, 2, 2)
    assert torch.allclose(CORRUPTIONS["brightness"](x, 3, Rng(0)).flatten(), torch.tensor([0.3, 0.5, 0.7, 1.0]))
    assert torch.allclose(CORRUPTIONS["contrast"](x, 2, Rng(0)).flatten(), torch.tensor([0.2, 0.3, 0.4, 0.7]))


def test_a_turn_by_a_stated_angle_moves_a_dot_along_a_circle():
    x = torch.zeros(50, 1, 41, 61)
    x[:, :, 19:22, 39:42] = 1.0  # centre (20, 40), 10 pixels right of the middle of an image that is not square
    down, right = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(61.0) - 30, indexing="ij")
    for severity in (1, 5):
        found = CORRUPTIONS["rotate"](x, severity, Rng(0))[:, 0]
        mass = found.sum((1, 2))
        at = torch.stack(((found * right).sum((1, 2)) / mass, (found * down).sum((1, 2)) / mass))
        angle = math.radians(LEVELS["rotate"][severity])
        assert torch.allclose(at[0], torch.full((50,), 10 * math.cos(angle)), atol=0.1)
        assert torch.allclose(at[1].abs(), torch.full((50,), 10 * math.sin(angle)), atol=0.1)
        assert (at[1] > 0).any() and (at[1] < 0).any()  # to both sides


def test_a_shift_moves_a_dot_by_the_stated_length_in_every_direction():
    x = torch.zeros(400, 1, 40, 60)
    x[:, :, 18:22, 28:32] = 1.0
    down, right = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(60.0) - 29.5, indexing="ij")
    found = CORRUPTIONS["translate"](x, 5, Rng(0))[:, 0]
    mass = found.sum((1, 2))
    at = torch.stack(((found * right).sum((1, 2)) / mass, (found * down).sum((1, 2)) / mass))
    assert torch.allclose(at.norm(dim=0), torch.full((400,), 0.2 * 40), atol=0.05)
    assert float(at.mean(1).norm()) < 1.0  # no direction is preferred


def test_occlusion_covers_the_stated_square_with_grey_and_nothing_else():
    x = torch.ones(300, 1, 20, 20)
    found = CORRUPTIONS["occlusion"](x, 3, Rng(0))
    covered = (found < 0.75).flatten(1).sum(1)
    assert float(torch.minimum((found - 0.5).abs(), (found - 1).abs()).max()) < 1e-5
    assert int(covered.max()) == 7 * 7  # .35 of 20; less at the border
    assert float(covered.double().mean()) > 30
    # On 8 x 8 pixels a side of .25 is 2 of them, about a pixel's centre: one whole and two halves.
    found = CORRUPTIONS["occlusion"](torch.ones(300, 1, 8, 8), 2, Rng(0))
    assert float((1 - found).flatten(1).sum(1).max()) == pytest.approx(0.5 * 2 * 2)
    assert set(found.unique().tolist()) == {0.5, 0.75, 0.875, 1.0}


class Bright(nn.Module):
    """Class 1 when the mean is above .5."""

    def forward(self, x):
        mean = x.flatten(1).mean(1)
        return torch.stack((torch.full_like(mean, 0.5), mean), 1)


def test_accuracy_is_that_of_the_degraded_images_averaged_over_severities():
    x = torch.tensor([0.15, 0.35, 0.8]).reshape(3, 1, 1, 1).expand(3, 1, 4, 4)
    found = accuracy_on_degraded(Bright(), x, torch.tensor([0, 0, 1]), 0)
    # Light of .1 to .5 makes .35 cross .5 from severity 2 on, and .15 at severity 4 and 5.
    assert found["brightness"] == pytest.approx((1 + 2 / 3 + 2 / 3 + 1 / 3 + 1 / 3) / 5)
    assert found["contrast"] == found["blur"] == 1


def test_measures_are_the_mean_over_corruptions_on_the_first_500_test_images_under_the_seed():
    splits = digits()
    torch.manual_seed(0)
    model = rr.train(rr.models.mlp((1, 8, 8), 10), [], splits, epochs=3).model
    state = torch.get_rng_state()
    found = evaluate(model, splits, seed=3, measures=MEASURES)
    assert torch.equal(torch.get_rng_state(), state) and found == evaluate(model, splits, seed=3, measures=MEASURES)
    assert list(found["corruption_curve"]) == list(CORRUPTIONS)
    assert found["corruption_accuracy"] == pytest.approx(sum(found["corruption_curve"].values()) / 9)
    x, y = splits.test.x, splits.test.y
    key, right = fold(fold(seed_key(3), "corruptions"), "occlusion"), []
    for severity in SEVERITIES:
        with torch.no_grad():
            right.append(model(CORRUPTIONS["occlusion"](x, severity, Rng(key))).argmax(1) == y)
    assert found["corruption_curve"]["occlusion"] == pytest.approx(float(torch.stack(right).double().mean()))
    assert found != evaluate(model, splits, seed=4, measures=MEASURES)
    assert 0.2 < found["corruption_accuracy"] < float((model(x).argmax(1) == y).double().mean())


def test_a_large_test_split_is_looked_at_in_part(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "robustreg.measures.subject.accuracy_on_degraded", lambda model, x, y, key: seen.append(len(x)) or {"a": 1.0}
    )
    splits = rr.load_data("digits", seed=0, train=100, val=100, test=900)
    evaluate(nn.Flatten(), splits, measures=MEASURES)
    assert seen == [500]


def test_corruptions_do_not_apply_to_corrupted_labels_or_regression():
    splits = digits()
    assert evaluate(nn.Flatten(), splits, measures=MEASURES, label_condition="random:1.0") == {}
    assert evaluate(nn.Flatten(), splits, measures=MEASURES, task="regression") == {}
    assert subject_of(nn.Flatten(), splits).degraded_accuracy is not None


def test_every_corruption_and_every_new_measure_is_documented():
    page = (Path(__file__).parents[1] / "docs" / "measures.md").read_text()
    themes = (calibration, certified, corruptions, geometry, memorization, spectral)
    for name in [*CORRUPTIONS, *(measure.name for theme in themes for measure in theme.MEASURES)]:
        assert f"`{name}`" in page, name
