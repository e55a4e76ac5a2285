"""Image folders of the user."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustreg.data import folder, load_data, make_splits, pixels
from robustreg.errors import DataError, UsageError


def paint(file: Path, *, size=(6, 5), mode="RGB", seed=None, **options):
    """Write one image of noise, and return its values as an array (height, width[, 3])."""
    rng = np.random.default_rng(seed if seed is not None else zlib.crc32(str(file).encode()))
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    values = rng.integers(256, size=shape, dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values, mode=None).save(file, **options)
    return values


def pets(root: Path, count=20, parts=("",), **options):
    """Write cats and dogs; return {file: values}."""
    return {
        file: paint(file, **options)
        for part in parts
        for name in ("dog", "cat")
        for file in (root / part / name / f"{number:03}.png" for number in range(count))
    }


def test_pixels_and_labels_are_those_of_the_files(tmp_path):
    truth = pets(tmp_path, 4)
    data = folder.load(str(tmp_path))
    assert data.classes == ("cat", "dog") and data.y.tolist() == [0] * 4 + [1] * 4
    assert data.x.dtype == torch.uint8 and data.shape == (3, 5, 6) and data.part is None
    for image, file in zip(data.x, sorted(truth, key=str), strict=True):
        assert np.array_equal(image.numpy(), truth[file].transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "ppm", "gif", "webp", "jpg", "jpeg", "PNG"])
def test_every_format_is_read(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    truth = {n: paint(tmp_path / n / f"image.{suffix}", size=(8, 8), seed=1, **options) for n in ("a", "b")}
    x = folder.load(str(tmp_path)).x
    assert x.shape == (2, 3, 8, 8)
    if suffix not in ("gif", "jpg", "jpeg"):  # these lose something when written
        assert np.array_equal(x[0].numpy(), truth["a"].transpose(2, 0, 1))


def test_grey_files_stay_grey_unless_asked_or_mixed(tmp_path):
    values = paint(tmp_path / "a" / "1.png", mode="L")
    paint(tmp_path / "b" / "1.pgm", mode="L")
    assert folder.load(str(tmp_path)).shape == (1, 5, 6)
    assert np.array_equal(folder.load(str(tmp_path)).x[0, 0].numpy(), values)
    colour = folder.load(str(tmp_path), channels="3").x
    assert colour.shape == (2, 3, 5, 6) and np.array_equal(colour[0, 2].numpy(), values)
    paint(tmp_path / "b" / "2.png")
    assert folder.load(str(tmp_path)).shape == (3, 5, 6)
    assert folder.load(str(tmp_path), channels="1").shape == (1, 5, 6)


def test_size_stretches_as_pillow_does(tmp_path):
    truth = {n: paint(tmp_path / n / "1.png", size=(20, 10 + 3 * i)) for i, n in enumerate("ab")}
    data = folder.load(str(tmp_path), size=4)
    assert data.shape == (3, 4, 4)
    for image, values in zip(data.x, truth.values(), strict=True):
        want = np.asarray(Image.fromarray(values).resize((4, 4), Image.Resampling.BILINEAR))
        assert np.array_equal(image.numpy(), want.transpose(2, 0, 1))


def test_size_leaves_images_of_that_size_alone(tmp_path):
    pets(tmp_path, 3, size=(8, 8))
    assert torch.equal(folder.load(str(tmp_path), size=8).x, folder.load(str(tmp_path)).x)


def test_parts_of_the_folder_are_the_parts(tmp_path):
    pets(tmp_path, 6, parts=("train", "val", "test"))
    data = folder.load(str(tmp_path))
    assert data.part.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    splits = make_splits(data, seed=0)
    assert sorted(splits.test.indices.tolist()) == list(range(24, 36))


def test_folders_named_like_parts_can_be_classes(tmp_path):
    for name in ("test", "val"):
        paint(tmp_path / name / "1.png")
    assert folder.load(str(tmp_path)).classes == ("test", "val")


def test_streamed_training_sees_the_same_batches(tmp_path):
    pets(tmp_path, 30)
    copy = tmp_path / "cat" / "zz.png"
    copy.write_bytes((tmp_path / "cat" / "000.png").read_bytes())
    memory = load_data(f"folder:{tmp_path}", seed=4)
    stream = load_data("folder", path=tmp_path, stream=True, seed=4)
    small = load_data("folder", path=tmp_path, memory=1e-6, seed=4)
    assert not memory.train.streamed and stream.train.streamed and small.train.streamed
    assert memory.hash == stream.hash == small.hash
    assert any("1 exact duplicate image" in note for note in stream.notes)
    order = torch.randperm(len(memory.train), generator=torch.Generator().manual_seed(1))
    pairs = list(zip(memory.train.batches(order, 7), stream.train.batches(order, 7), strict=True))
    assert len(pairs) == 6
    for (x, y), (xs, ys) in pairs:
        assert torch.equal(x, xs) and torch.equal(y, ys) and x.dtype == xs.dtype == torch.float32
    where = memory.train.indices[order[:7]]
    assert torch.equal(pairs[0][1][0], pixels(folder.load(str(tmp_path)).x[where]))


def test_what_systems_leave_behind_is_no_class_and_no_image(tmp_path):
    truth = pets(tmp_path, 3)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "__MACOSX" / "cat").mkdir(parents=True)
    (tmp_path / "cat" / "._000.png").write_bytes(b"resource fork")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"?")
    (tmp_path / "readme.txt").write_text("hello")
    assert len(folder.load(str(tmp_path))) == len(truth)


def test_a_missing_folder_is_named_with_the_layout_expected(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist; expected PATH/CLASS"):
        folder.load(str(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file is a file, not a folder"):
        folder.load(str(tmp_path / "file"))


def test_a_folder_without_classes_or_with_one_is_refused(tmp_path):
    with pytest.raises(DataError, match="no class folders"):
        folder.load(str(tmp_path))
    paint(tmp_path / "cat" / "1.png")
    with pytest.raises(DataError, match="only one class folder, 'cat'"):
        folder.load(str(tmp_path))


def test_an_empty_class_is_named(tmp_path):
    pets(tmp_path, 2)
    (tmp_path / "emu").mkdir()
    with pytest.raises(DataError, match=r"emu has no images"):
        folder.load(str(tmp_path))


def test_classes_that_differ_between_parts_are_named(tmp_path):
    pets(tmp_path, 2, parts=("train", "test"))
    paint(tmp_path / "test" / "emu" / "1.png")
    with pytest.raises(DataError, match=r"train and test have different classes; only one of them has emu"):
        folder.load(str(tmp_path))


def test_parts_without_train_or_beside_something_else_are_refused(tmp_path):
    pets(tmp_path, 2, parts=("val", "test"))
    with pytest.raises(DataError, match="no train folder"):
        folder.load(str(tmp_path))
    pets(tmp_path, 2, parts=("train", "tests"))
    with pytest.raises(DataError, match=r"'tests'.* Did you mean 'test'"):
        folder.load(str(tmp_path))


def test_the_first_image_of_another_size_is_named(tmp_path):
    pets(tmp_path, 3)
    paint(tmp_path / "dog" / "001.png", size=(9, 4))
    with pytest.raises(DataError, match=r"000.png is 6 x 5 pixels, .*dog.001.png is 9 x 4; add size=N"):
        folder.load(str(tmp_path))


@pytest.mark.parametrize("stream", ["true", "false"])
def test_broken_images_are_named_however_they_are_broken(tmp_path, stream):
    pets(tmp_path, 2)
    bad = tmp_path / "dog" / "001.png"
    whole = bad.read_bytes()
    rng = np.random.default_rng(0)
    variants = [b"", b"not an image", whole[:20], whole[: len(whole) // 2], b"GIF89a" + bytes(4), b"BM" + whole[2:]]
    variants += [
        whole[:at] + bytes([value]) + whole[at + 1 :] for at, value in rng.integers((0, 0), (40, 256), (40, 2))
    ]
    refused = 0
    for content in variants:
        bad.write_bytes(content)
        try:
            make_splits(folder.load(str(tmp_path), stream=stream), seed=0, train=2, val=0, test=2)
        except DataError as error:  # nothing else may come out
            refused += "001.png" in str(error)
    assert refused >= 6


def test_a_small_file_that_claims_to_be_huge_is_not_decoded(tmp_path):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    pets(tmp_path, 2)
    for side in (9_000, 20_000):  # below Pillow's own limit, and above
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        (tmp_path / "dog" / "bomb.png").write_bytes(content)
        with pytest.raises(DataError, match=r"bomb.png has .*pixels"):
            folder.load(str(tmp_path), size=8)


def test_deeper_images_are_refused_and_not_clipped(tmp_path):
    pets(tmp_path, 2)
    Image.fromarray(np.full((5, 6), 40_000, dtype=np.uint16)).save(tmp_path / "dog" / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        folder.load(str(tmp_path))


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path):
    pets(tmp_path, 2)
    image = Image.fromarray(np.arange(30, dtype=np.uint8).reshape(5, 6)).convert("P")
    image.save(tmp_path / "cat" / "palette.png", transparency=bytes(range(200)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = folder.load(str(tmp_path)).x
    assert x[2, 0].flatten().tolist() == list(range(30))


def test_a_file_that_changes_size_while_streaming_is_noticed(tmp_path):
    pets(tmp_path, 2)
    data = folder.load(str(tmp_path), stream="true")
    paint(tmp_path / "cat" / "000.png", size=(3, 3))
    with pytest.raises(DataError, match="3 x 3 now"):
        data.x[0]


@pytest.mark.parametrize("options", [{"stream": "maybe"}, {"channels": "2"}, {"size": -4}])
def test_options_out_of_range_are_usage_errors(tmp_path, options):
    pets(tmp_path, 1)
    with pytest.raises(UsageError):
        folder.load(str(tmp_path), **options)


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
@pytest.mark.parametrize("name", ["a:b", "a,b", "a+b@c", "with blank", "x=1", "ünï"])
def test_a_path_may_contain_what_means_something_in_a_spec(tmp_path, name):
    pets(tmp_path / name, 10)
    for text in (f"folder:{tmp_path / name}", f"folder:path={tmp_path / name}", f"folder:{tmp_path / name},size=4"):
        splits = load_data(text)
        assert splits.name == f"folder:{name}"
        assert splits.shape == ((3, 4, 4) if "size" in text else (3, 5, 6))
