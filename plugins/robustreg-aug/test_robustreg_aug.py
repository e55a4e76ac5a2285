"""The plugin keeps the laws of robustreg, and computes what its papers say."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from robustreg_aug import (
    AugMix,
    ManifoldMixup,
    RandomErasing,
    disagreement,
    operations,
    places,
    rectangles,
    regularizers,
    views,
)
from scipy import special, stats
from torch import Tensor, nn
from torchvision import transforms
from torchvision.transforms import functional as V

from robustreg import Objective, Regularizer, models, testing
from robustreg.errors import PluginError, UsageError
from robustreg.noise import Rng
from robustreg.regularizers import Dropout, FGSMTraining, Mixup, PGDTraining
from robustreg.testing.bench import Bench, Watcher, batch, network
from robustreg.testing.cohorts import batches_are_exact, compare, trained

TEAMS = [*((Mixup, Dropout, FGSMTraining, kind) for kind in regularizers()), *combinations(regularizers(), 2)]


@pytest.mark.parametrize("kind", regularizers(), ids=lambda kind: kind.name)
def test_it_keeps_the_laws(kind: type[Regularizer]) -> None:
    """No law of `robustreg.testing` is broken."""
    assert [row for row in testing.check(kind) if row["status"] == "failed"] == []


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: "+".join(one.name for one in team))
def test_it_gets_on_with_others(team: tuple[type[Regularizer], ...]) -> None:
    """Beside one another, and beside built-in ones, runs that train together end where they end alone."""
    together, alone = trained([Bench(kind, {}) for kind in team], runs=2)
    compare(together, alone, exact=batches_are_exact(*team))


def pictures(count: int = 6, size: int = 16) -> Tensor:
    """Return uint8 images `(count, 3, size, size)` of few and many tones, dark, bright and of one tone."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    x[1] //= 3
    x[2] = 200 + x[2] // 5
    x[3] = x[3] // 64 * 64
    x[4] = 77
    return x


def floats(x: Tensor) -> Tensor:
    """Return uint8 images as floats in [0, 1]."""
    return x.float() / 255


def whole(x: Tensor) -> Tensor:
    """Return float images as whole tones."""
    return (x * 255).round().to(torch.uint8)


def test_equalize_is_torchvisions() -> None:
    """Tone for tone, on images of all kinds."""
    x = pictures(size=40)
    assert torch.equal(whole(operations.equalize(floats(x))), V.equalize(x))
    assert not torch.equal(V.equalize(x), x)


def test_autocontrast_is_torchvisions() -> None:
    """On floats, for images of all kinds."""
    x = floats(pictures())
    torch.testing.assert_close(operations.autocontrast(x), V.autocontrast(x))


@pytest.mark.parametrize("level", [0.0, 0.3, 0.5, 1.0])
def test_posterize_and_solarize_are_torchvisions(level: float) -> None:
    """With the bits and the threshold that the paper's code takes at a level."""
    x, levels = pictures(), torch.full((6,), level)
    bits, threshold = 4 - int(level * 4), 256 - int(level * 256)
    assert torch.equal(whole(operations.posterize(floats(x), levels)), V.posterize(x, bits))
    wanted = V.solarize(x, threshold) if threshold < 256 else x  # torchvision's has no threshold above 255
    assert torch.equal(whole(operations.solarize(floats(x), levels)), wanted)


@pytest.mark.parametrize(("name", "level"), [(name, level) for name in operations.MOVES for level in (0.4, -0.9)])
def test_moves_are_torchvisions_affine_maps(name: str, level: float) -> None:
    """By the angle, the shear and the shift that the paper's code takes at a level."""
    x, slope = floats(pictures()).double(), math.degrees(math.atan(0.3 * level))
    own: dict[str, dict[str, Any]] = {
        "rotate": {"angle": 30 * level},
        "shear_x": {"shear": [slope, 0.0]},
        "shear_y": {"shear": [0.0, slope]},
        "translate_x": {"translate": [int(level * 16 / 3), 0]},
        "translate_y": {"translate": [0, int(level * 16 / 3)]},
    }
    how = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **own[name]}
    which = torch.full((6,), operations.MOVES.index(name))
    found = operations.move(x, which, torch.full((6,), level, dtype=torch.float64))
    torch.testing.assert_close(found, V.affine(x, interpolation=V.InterpolationMode.BILINEAR, **how), atol=1e-5, rtol=0)
    assert (found - x).abs().max() > 0.1


def test_each_image_gets_the_transformation_drawn_for_it() -> None:
    """`transform` of a batch does to each image what its number says."""
    x, sign = floats(pictures(len(operations.NAMES))), torch.ones(len(operations.NAMES))
    level, which = torch.full((len(x),), 0.6), torch.arange(len(x))
    found = operations.transform(x, which, level, sign)
    singly = [operations.move(x, which, level)[at] for at in range(len(operations.MOVES))]
    tones = (
        operations.autocontrast(x),
        operations.equalize(x),
        operations.posterize(x, level),
        operations.solarize(x, level),
    )
    singly += [value[at] for at, value in enumerate(tones, len(operations.MOVES))]
    torch.testing.assert_close(found, torch.stack(singly))


def test_a_view_is_a_blend_with_chains_of_transformations() -> None:
    """Inside [0, 1], the image itself without transformations, and another one for each image and each draw."""
    x = floats(pictures(40))
    how: dict[str, Any] = {"severity": torch.tensor(3.0)}
    view = views(x, Rng(1), **how)
    assert view.min() >= 0 and view.max() <= 1
    torch.testing.assert_close(views(x, Rng(1), depth=0, **how), x)
    same = x[:1].expand(40, -1, -1, -1)
    assert len(torch.unique(views(same, Rng(1), **how).flatten(1).round(decimals=4), dim=0)) == 40
    gap = (view - x).flatten(1).norm(dim=1)
    harder = (views(x, Rng(1), severity=torch.tensor(10.0)) - x).flatten(1).norm(dim=1)
    assert harder.mean() > 1.2 * gap.mean()


@pytest.mark.parametrize(("depth", "lengths"), [(-1, {1, 2, 3}), (2, {2})])
def test_a_chain_has_one_to_three_transformations(
    depth: int, lengths: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted: each length equally often for a depth of -1, and the depth itself otherwise; levels within severity."""
    levels: list[Tensor] = []

    def count(x: Tensor, which: Tensor, level: Tensor, sign: Tensor) -> Tensor:
        levels.append(level)
        return x + 1

    monkeypatch.setattr(operations, "transform", count)
    found = operations.chain(torch.zeros(3000, 1, 1, 1), torch.tensor(4.0), Rng(0), depth).flatten()
    times = [int((found == length).sum()) for length in sorted(lengths)]
    assert sum(times) == 3000 and min(times) > 0.9 * 3000 / len(times)
    assert stats.kstest(torch.cat(levels).numpy(), "uniform", (0.01, 0.39)).pvalue > 0.001


def test_the_disagreement_is_the_jensen_shannon_divergence() -> None:
    """SciPy's entropies are the oracle: that of the mean less the mean of those."""
    logits = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = special.softmax(logits.numpy(), axis=-1)
    wanted = np.mean(stats.entropy(p.mean(0), axis=-1) - stats.entropy(p, axis=-1).mean(0))
    assert disagreement(*logits).item() == pytest.approx(wanted)
    assert disagreement(logits[0], logits[0] + 1).item() == pytest.approx(0, abs=1e-15)


def test_augmix_is_the_weighted_disagreement_of_an_image_and_two_views() -> None:
    """The views drawn again from the same key are the oracle; the cross-entropy is of the images as they are."""
    model, (x, y) = network(normalized=False, noisy=False), batch("classification")
    _, terms = Objective(model, [AugMix(5.0)])(x, y, 3)
    both = views(torch.cat((x, x)), Rng(3).split("augmix"), severity=torch.tensor(3.0))
    assert not torch.equal(both[:8], both[8:])
    wanted = 5 * disagreement(model(x), model(both[:8]), model(both[8:]))
    assert terms["augmix"].item() == pytest.approx(wanted.item(), rel=1e-4)
    assert terms["loss"].item() == pytest.approx(nn.functional.cross_entropy(model(x), y).item())


def test_a_rectangle_has_its_area_its_aspect_and_its_place() -> None:
    """By hand: half of an image of 8x8, twice as high as wide, in both corners; and one that is too long."""
    area, aspect = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([2.0, 2.0, 100.0])
    found = rectangles(torch.Size((3, 1, 8, 8)), area, aspect, torch.tensor([[0.0, 0.99, 0.5], [0.0, 0.99, 0.5]]))
    wanted = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    wanted[0, 0, :8, :4], wanted[1, 0, :8, 4:], wanted[2, 0, :, 4:5] = True, True, True
    assert torch.equal(found, wanted)


def test_random_erasing_erases_as_much_as_torchvisions() -> None:
    """The share of images; areas, widths, heights and places of rectangles that fit; and that the noise is uniform."""
    x, watcher = torch.full((2000, 1, 32, 32), 2.0), Watcher()
    Objective(nn.Flatten(), [RandomErasing(0.5, largest=0.2, aspect=0.5), watcher])(x, torch.zeros(2000, 1024), 1)
    erased = watcher.seen["x"] != 2
    share = erased.float().mean((1, 2, 3))
    assert stats.binomtest(int((share > 0).sum()), 2000, 0.5).pvalue > 0.001
    torch.manual_seed(0)
    erase = transforms.RandomErasing(1.0, scale=(0.02, 0.2), ratio=(0.5, 2), value=0)
    theirs = torch.stack([erase(one) for one in x[:1000]]) == 0
    own = erased[share > 0]
    for size in (
        lambda cut: cut.sum((1, 2, 3)),
        lambda cut: cut.any(2).sum((1, 2)),
        lambda cut: cut.any(3).sum((1, 2)),
    ):
        assert stats.ks_2samp(size(own).numpy(), size(theirs).numpy()).pvalue > 0.001  # areas, widths, heights
    torch.testing.assert_close(own.float().mean(0), theirs.float().mean(0), atol=0.1, rtol=0)
    assert stats.kstest(watcher.seen["x"][erased].numpy(), "uniform").pvalue > 0.001


@pytest.mark.parametrize("kind", [AugMix, RandomErasing])
def test_what_is_no_image_is_named(kind: type[Regularizer]) -> None:
    """Rows of numbers have no rectangles."""
    with pytest.raises(PluginError, match=r"needs images \(batch, channels, height, width\), got \(4, 9\)"):
        Objective(nn.Linear(9, 3), [kind()])(torch.rand(4, 9), torch.zeros(4, dtype=torch.int64), 0)


def test_manifold_mixup_of_the_pixels_alone_is_mixup() -> None:
    """With layers=1 and the same noise it computes what the built-in mixup does."""
    x, y = batch("classification")
    found, wanted = (
        Objective(network(normalized=False, noisy=False), [member])(x, y, 4)[0]
        for member in (ManifoldMixup(0.7, layers=1), Mixup(0.7, name="manifold_mixup"))
    )
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_manifold_mixup_blends_at_one_of_the_first_places() -> None:
    """The network cut in two by hand is the oracle; over some steps each place has its turn, and no other."""
    model, (x, y), watcher = network(normalized=False, noisy=False), batch("classification"), Watcher()
    plain: Any = network(normalized=False, noisy=False)
    objective = Objective(model, [ManifoldMixup(), watcher])
    turns = set()
    for key in range(12):
        objective(x, y, key)
        rng = Rng(key).split("manifold_mixup")
        share, partner = rng.symmetric_beta(torch.tensor(2.0)), rng.permutation(8)
        rows = nn.functional.one_hot(y, 4)
        torch.testing.assert_close(watcher.seen["y"], share * rows + (1 - share) * rows[partner])
        for cut in (0, 4, 7):
            hidden = plain[:cut](x)
            if torch.allclose(
                watcher.seen["logits"], plain[cut:](share * hidden + (1 - share) * hidden[partner]), atol=1e-5
            ):
                turns.add(cut)
                break
        else:
            raise AssertionError("blended nowhere")
    assert turns == {0, 4, 7}
    two = Objective(network(), [ManifoldMixup(layers=2)])
    assert sum(name.endswith("manifold_mixup") for name, _ in two.network.named_modules()) == 2


def test_manifold_mixup_is_over_with_the_step_and_absent_in_evaluation_mode() -> None:
    """Between steps and in passes of an attack in evaluation mode the network is the plain one."""
    x, y = batch("classification")
    plain = network(normalized=False, noisy=False)
    objective = Objective(network(normalized=False, noisy=False), [ManifoldMixup(), PGDTraining(0.1), Watcher()])
    objective(x, y, 2)
    assert torch.equal(objective.network(x), plain(x))
    blends: Any = [one for name, one in objective.network.named_modules() if name.endswith("manifold_mixup")]
    for blend in blends:
        blend.how = torch.tensor(0.5), torch.arange(8).flip(0)
    assert not torch.allclose(objective.network(x), plain(x))
    assert torch.equal(objective.network(x[:5]), plain(x[:5]))
    assert torch.equal(objective.eval().network(x), plain(x))


def test_residual_blocks_are_places_as_a_whole() -> None:
    """The stem, eight blocks and the last layer of both ResNets; the layers of a plain network."""
    with pytest.raises(UsageError, match="no linear layer"):
        Objective(nn.Flatten(), [ManifoldMixup()])
    for model in (models.resnet18((3, 8, 8), 4), models.preact_resnet18((3, 8, 8), 4, width=4)):
        found = [type(one).__name__ for one in places(model)]
        assert found[0] == "Conv2d" and found[-1] == "Linear" and len(found) == 10
        assert all(name.endswith("Block") for name in found[1:-1])
    assert [type(one).__name__ for one in places(network())] == ["Conv2d", "Linear", "Linear"]
