"""Rotations and shifts: against NumPy, SciPy and trying everything."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

import robustreg as rr
from robustreg.attacks import spatial
from robustreg.attacks.spatial import rotated
from robustreg.errors import UsageError
from robustreg.measures import subject_of
from robustreg.measures.spatial import SPATIAL_ACCURACY

ROTATIONS, SHIFTS = (-25.0, 0.0, 15.0), (0, 1)


@pytest.fixture(scope="module")
def splits():
    return rr.load_data("digits", seed=0)


@pytest.fixture(scope="module")
def trained(splits):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    for epoch in range(15):
        order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(epoch))
        for x, y in splits.train.batches(order, 50):
            optimizer.zero_grad()
            F.cross_entropy(model(x.double()), y).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def points(splits):
    x, y = next(splits.test.batches(None, 300))
    return x.double(), y


def right(model, x):
    with torch.no_grad():
        return model(x).argmax(-1)


def moved_by_scipy(image, degrees, shift_right, shift_down):
    """One (H, W) image turned counter-clockwise around its centre, then shifted; zeros come in from outside."""
    angle = np.deg2rad(degrees)
    inverse = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # rows point down
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - inverse @ (centre + np.array([shift_down, shift_right]))
    return ndimage.affine_transform(image, inverse, offset, order=1, mode="grid-constant", cval=0)


def grid_by_scipy(x):
    """Every motion of the grid, `(motions, n, 1, 8, 8)`."""
    return torch.stack(
        [
            torch.from_numpy(np.stack([moved_by_scipy(one[0].numpy(), turn, right, down) for one in x]))[:, None]
            for turn in ROTATIONS
            for right in SHIFTS
            for down in SHIFTS
        ]
    )


def test_spatial_breaks_what_trying_every_motion_breaks_and_returns_one_of_them(trained, points):
    x, y = points
    motions = grid_by_scipy(x)
    wrong = torch.stack([right(trained, image) != y for image in motions])
    clean = right(trained, x) == y
    found = spatial(trained, x, y, rotations=ROTATIONS, shifts=SHIFTS)
    assert torch.equal((right(trained, found) == y), clean & ~wrong.any(0))
    assert (clean & wrong.any(0)).sum() > 5 and (clean & ~wrong.any(0)).any()
    off = (motions - found).abs().flatten(2).amax(2)
    assert (off.amin(0) < 1e-9)[clean].all() and torch.equal(found[~clean], x[~clean])
    # Nothing broke it: the one of largest margin loss. Something did: no motion was needed that is less of one.
    with torch.no_grad():
        logits = torch.stack([trained(image) for image in motions])
    own = F.one_hot(y, 10).bool().expand_as(logits)
    losses = logits.masked_fill(own, -torch.inf).amax(-1) - logits[own].reshape(len(motions), -1)
    for index in (clean & ~wrong.any(0)).nonzero().flatten().tolist():
        assert int(off[:, index].argmin()) == int(losses[:, index].argmax())
    unmoved = spatial(trained, x, y, rotations=(0.0,), shifts=(0,))
    assert torch.equal(unmoved, x)


def test_a_small_rotation_is_taken_before_a_large_one_and_a_small_shift_before_a_large_one():
    class Never(nn.Module):
        """Wrong on everything but the clean image."""

        def forward(self, image):
            same = (image == clean).flatten(1).all(1).double()
            return torch.stack((same, 1 - same), 1)

    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(1, 2, 6, 4, generator=generator, dtype=torch.float64)
    label = torch.tensor([0])
    found = spatial(Never(), clean, label, rotations=(-30.0, 5.0, 0.0), shifts=(-2, -1, 0))
    expected = torch.zeros_like(clean)
    expected[:, :, :, :-1] = clean[:, :, :, 1:]
    assert torch.equal(found, expected)
    assert torch.equal(spatial(Never(), clean, label, rotations=(9.0, 5.0), shifts=(0,)), rotated(clean, 5.0))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_of_a_square_are_exact(turns):
    x = torch.rand(3, 2, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(rotated(x, 90.0 * turns), torch.rot90(x, turns, (2, 3)), atol=1e-12)


@pytest.mark.parametrize(("right_", "down"), [(3, 0), (0, -3), (-2, 1)])
def test_shifts_move_whole_pixels_and_bring_in_black(right_, down):
    x = 0.1 + 0.9 * torch.rand(2, 1, 5, 8, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros_like(x)
    for row in range(5):
        for column in range(8):
            if 0 <= row - down < 5 and 0 <= column - right_ < 8:
                expected[:, :, row, column] = x[:, :, row - down, column - right_]
    shifted = [expected]

    class Spy(nn.Module):
        def forward(self, image):
            shifted.append(image)
            return torch.tensor([[1.0, 0.0]]).expand(len(image), 2)

    spatial(Spy(), x, torch.zeros(2, dtype=torch.int64), rotations=(0.0,), shifts=(right_, down))
    assert any(torch.equal(image, expected) for image in shifted[1:])


@pytest.mark.parametrize(("size", "most"), [((8, 8), 1), ((28, 28), 3), ((32, 40), 3), ((3, 3), 1)])
def test_shifts_go_up_to_a_tenth_of_the_image_where_nothing_is_said(size, most):
    torch.manual_seed(0)
    x, model = torch.rand(2, 1, *size), nn.Sequential(nn.Flatten(), nn.Linear(size[0] * size[1], 2))
    y = right(model, x)
    shifts = range(-most, most + 1)
    assert torch.equal(spatial(model, x, y), spatial(model, x, y, shifts=shifts))
    assert not torch.equal(spatial(model, x, y), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spatial_keeps_type_and_box_does_not_depend_on_the_batch_and_leaves_no_trace(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.LazyLinear(3)).to(dtype)
    x, y = torch.rand(9, 3, 6, 9, dtype=dtype).round(decimals=1), torch.arange(9) % 3
    model(x)
    model.train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = spatial(model, x, y)
    assert found.dtype == dtype and found.shape == x.shape and found.min() >= 0 and found.max() <= 1
    assert not found.requires_grad and model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.allclose(spatial(model, x, y, batch_size=2), found, atol=1e-6)


def test_the_measure_is_the_share_that_no_motion_breaks(trained, splits):
    subject = subject_of(trained.float(), splits, eps=(0.0,))
    x, y = next(splits.test.batches(None, len(splits.test)))
    found = SPATIAL_ACCURACY.compute(subject)
    trained.double()
    assert found == pytest.approx(
        float((right(trained, spatial(trained, x.double(), y)) == y).double().mean()), abs=0.005
    )
    assert 0 <= found < float((right(trained, x.double()) == y).double().mean()) - 0.2
    corrupted = subject_of(trained, splits, label_condition="random:1.0")
    assert SPATIAL_ACCURACY.compute(corrupted) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"x": torch.rand(2, 64)}, "must be .n, channels, height, width. to be turned"),
        ({"rotations": ()}, "needs rotations in degrees"),
        ({"shifts": (0.5,)}, "whole pixels"),
        ({"shifts": (8,)}, "smaller than the image, 8 x 8 pixels"),
        ({"x": 2 + torch.rand(2, 1, 8, 8)}, "normalisation"),
        ({"y": torch.tensor([0, 10])}, "do not fit a model of 10 classes"),
    ],
)
def test_what_cannot_be_moved_is_refused(trained, settings, says):
    with pytest.raises(UsageError, match=says):
        spatial(trained.float(), **{"x": torch.rand(2, 1, 8, 8), "y": torch.tensor([0, 1]), **settings})
    trained.double()
