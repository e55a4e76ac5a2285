"""Data sets that are downloaded, on tiny files in their formats."""

from __future__ import annotations

import builtins
import gzip
import hashlib
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets as torchvision_datasets

from robustreg.data import afhq, datasets, fetch_data, load_data, load_dataset, make_splits, torchvision_sets
from robustreg.data.pickles import load_arrays
from robustreg.errors import DataError, UsageError

RNG = np.random.default_rng(0)
SOURCES = {source.name: source for source in datasets()}


def noise(*shape):
    return RNG.integers(256, size=shape, dtype=np.uint8)


def md5(file):
    return hashlib.md5(file.read_bytes()).hexdigest()


def write_idx(file: Path, values: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    file.write_bytes(head + values.astype(np.uint8).tobytes())


def write_mnist(raw: Path):
    truth = {}
    for part, count in (("train", 40), ("t10k", 20)):
        truth[part] = noise(count, 28, 28), np.arange(count) % 10
        write_idx(raw / f"{part}-images-idx3-ubyte", truth[part][0])
        write_idx(raw / f"{part}-labels-idx1-ubyte", truth[part][1])
    return truth


def write_cifar(root: Path, monkeypatch, *, protocol=2, labels="labels", classes=10):
    """Write batches as CIFAR's authors did and let torchvision's class expect their hashes; return images, labels."""
    cls = torchvision_datasets.CIFAR10 if classes == 10 else torchvision_datasets.CIFAR100
    folder = root / cls.base_folder
    folder.mkdir(parents=True)
    images, numbers = [], []
    lists = {"train_list": [], "test_list": []}
    for key in lists:
        for file, _ in getattr(cls, key):
            x, y = noise(classes, 3072), list(range(classes))
            (folder / file).write_bytes(pickle.dumps({"data": x, labels: y, "batch_label": "b"}, protocol=protocol))
            lists[key].append([file, md5(folder / file)])
            images.append(x.reshape(-1, 3, 32, 32))
            numbers += y
        monkeypatch.setattr(cls, key, lists[key])
    meta = folder / cls.meta["filename"]
    meta.write_bytes(pickle.dumps({cls.meta["key"]: [f"class {n}" for n in range(classes)]}, protocol=protocol))
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": md5(meta)})
    return np.concatenate(images), numbers


@pytest.mark.parametrize("name, cls", [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")])
def test_idx_files_become_images_with_parts(tmp_path, name, cls):
    truth = write_mnist(tmp_path / cls / "raw")
    data = SOURCES[name].load(path=str(tmp_path))
    assert data.x.dtype == torch.uint8 and data.shape == SOURCES[name].shape == (1, 28, 28)
    assert np.array_equal(data.x[:, 0].numpy(), np.concatenate([truth["train"][0], truth["t10k"][0]]))
    assert data.y.tolist() == [n % 10 for n in range(40)] + [n % 10 for n in range(20)]
    assert data.part.tolist() == [0] * 40 + [2] * 20
    assert len(data.classes) == 10 and (name != "mnist" or data.classes == tuple("0123456789"))
    splits = load_data(f"{name}:{tmp_path},val=10")
    assert sorted(splits.test.indices.tolist()) == list(range(40, 60)) and len(splits.train) == 30


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name, labels, classes", [("cifar10", "labels", 10), ("cifar100", "fine_labels", 100)])
def test_cifar_files_become_images_channels_first(tmp_path, monkeypatch, name, labels, classes, protocol):
    x, y = write_cifar(tmp_path, monkeypatch, protocol=protocol, labels=labels, classes=classes)
    data = SOURCES[name].load(path=str(tmp_path))
    assert np.array_equal(data.x.numpy(), x) and data.y.tolist() == y and data.shape == (3, 32, 32)
    assert data.classes[3] == "class 3" and data.part.bincount().tolist()[2] == classes
    # The library that everybody uses reads the same.
    cls = getattr(torchvision_datasets, name.upper())
    other = cls(tmp_path, train=False)
    assert np.array_equal(data.x[data.part == 2].permute(0, 2, 3, 1).numpy(), other.data)
    assert data.y[data.part == 2].tolist() == other.targets


def test_a_changed_cifar_file_is_noticed(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch)
    file = tmp_path / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DataError, match="test_batch is not the file that was published"):
        SOURCES["cifar10"].load(path=str(tmp_path))


class Harm:
    """What a hostile pickle does: calls a function when read."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_wants_more_than_arrays_is_not_run(tmp_path, protocol):
    target = tmp_path / "harmed"
    for number, content in enumerate(({"data": Harm(target)}, Harm(target), {"data": [np.array([Harm(target)])]})):
        file = tmp_path / f"{number}.pickle"
        file.write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(ValueError, match="which no array needs"):
            load_arrays(file)
    assert not target.exists()
    pickle.loads(file.read_bytes())
    assert target.exists()  # it would have


@pytest.mark.parametrize("content", [b"", b"\x80", b"hello", pickle.dumps([1, 2]), pickle.dumps({"a": 1})[:-3]])
def test_what_is_no_pickled_dictionary_is_a_value_error(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError):
        load_arrays(tmp_path / "file")


def test_svhn_files_become_images_with_zero_for_ten(tmp_path, monkeypatch):
    lists, truth = {}, []
    for split in ("train", "test"):
        x, y = noise(32, 32, 3, 20), np.arange(1, 21)[:, None] % 10
        truth.append(x.transpose(3, 2, 0, 1))
        file = tmp_path / f"{split}_32x32.mat"
        savemat(file, {"X": x, "y": np.where(y == 0, 10, y).astype(np.uint8)})
        lists[split] = ["", file.name, md5(file)]
    monkeypatch.setattr(torchvision_datasets.SVHN, "split_list", lists)
    data = SOURCES["svhn"].load(path=str(tmp_path))
    assert np.array_equal(data.x.numpy(), np.concatenate(truth)) and data.shape == (3, 32, 32)
    assert data.y.tolist() == [n % 10 for n in range(1, 21)] * 2 and data.part.tolist() == [0] * 20 + [2] * 20
    (tmp_path / "test_32x32.mat").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"svhn in .* is damaged"):
        SOURCES["svhn"].load(path=str(tmp_path))


def test_a_folder_without_the_files_is_named(tmp_path):
    with pytest.raises(DataError, match=r"does not hold cifar100: cifar-100-python/train"):
        SOURCES["cifar100"].load(path=str(tmp_path))


def test_a_torchvision_that_does_not_fit_is_explained(monkeypatch, tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw")
    real = builtins.__import__

    def broken(name, *arguments, **options):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(DataError, match=r"nms does not exist.*reinstall both together"):
        SOURCES["mnist"].load(path=str(tmp_path))


class Server:
    """Stands in for `fetch`: serves files by the last part of their address, and checks the hash as it does."""

    def __init__(self, folder):
        self.folder, self.asked = folder, []

    def __call__(self, url, *, known_hash, to, max_bytes):
        assert url.startswith("https://")
        source = self.folder / url.rsplit("/", 1)[1]
        kind, _, expected = (known_hash or "").partition(":")
        self.asked.append((url, kind))
        if kind and hashlib.new(kind, source.read_bytes()).hexdigest() != expected:
            raise DataError(f"{url}: wrong hash")
        assert source.stat().st_size <= max_bytes
        to.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(source, to))


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTREG_DATA", str(tmp_path / "home"))
    server = Server(tmp_path / "server")
    server.folder.mkdir()
    for room in (torchvision_sets, afhq):
        monkeypatch.setattr(room, "fetch", server)
    return server


def test_mnist_is_downloaded_once_with_hashes_and_a_word(server, monkeypatch, tmp_path):
    truth = write_mnist(tmp_path / "raw")
    resources = []
    for file in sorted((tmp_path / "raw").iterdir()):
        packed = server.folder / f"{file.name}.gz"
        packed.write_bytes(gzip.compress(file.read_bytes()))
        resources.append((packed.name, md5(packed)))
    monkeypatch.setattr(torchvision_datasets.MNIST, "resources", resources)
    source, said = SOURCES["mnist"], []
    assert not source.cached()
    splits = load_data("mnist:val=10", say=said.append)
    assert source.cached() and len(said) == 1 and "12 MB" in said[0] and "CC BY-SA" in said[0]
    assert np.array_equal(np.sort(splits.test.y.numpy()), np.sort(truth["t10k"][1]))
    assert [kind for _, kind in server.asked] == ["md5"] * 4
    load_data("mnist:val=10", say=said.append)
    assert len(server.asked) == 4 and len(said) == 1


def test_cifar_is_downloaded_and_unpacked(server, monkeypatch, tmp_path):
    x, _ = write_cifar(tmp_path / "made", monkeypatch)
    archive = server.folder / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    source = SOURCES["cifar10"]
    with pytest.raises(DataError, match="wrong hash"):
        source.get()
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "tgz_md5", md5(archive))
    source.get()
    assert source.cached() and np.array_equal(source.load().x.numpy(), x)
    assert sorted(f.name for f in (tmp_path / "home" / "torchvision").iterdir()) == ["cifar10"]


def test_the_hashes_of_torchvision_are_where_we_look_for_them():
    for which in torchvision_sets.SETS:
        cls = getattr(torchvision_datasets, which.torchvision)
        if which.kind == "idx":
            assert [f"{which.torchvision}/raw/{name.removesuffix('.gz')}" for name, _ in cls.resources] == list(
                which.files
            )
            hashes = [hash for _, hash in cls.resources]
        elif which.kind == "pickles":
            names = [name for name, _ in [*cls.train_list, *cls.test_list]] + [cls.meta["filename"]]
            assert [f"{cls.base_folder}/{name}" for name in names] == list(which.files) and cls.url == which.url
            hashes = [cls.tgz_md5, cls.meta["md5"]]
        else:
            hashes = [cls.split_list[part][2] for part in ("train", "test")]
            assert [cls.split_list[part][1] for part in ("train", "test")] == list(which.files)
        assert all(len(hash) == 32 and int(hash, 16) for hash in hashes)


def faces(root, *, train=10, val=4, size=32):
    for part, count in (("train", train), ("val", val)):
        for name in ("cat", "dog", "wild"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(noise(size, size, 3)).save(folder / f"{number}.png")


def zip_faces(file, root):
    with zipfile.ZipFile(file, "w") as archive:
        for image in sorted(root.rglob("*.png")):
            archive.write(image, Path("afhq") / image.relative_to(root))


def test_faces_in_a_folder_of_the_user(tmp_path):
    faces(tmp_path / "afhq", size=40)
    for path in (tmp_path, tmp_path / "afhq"):
        splits = load_data(f"afhq:{path},val=6", seed=1)
        assert splits.classes == ("cat", "dog", "wild") and splits.shape == (3, 32, 32)
        assert sorted(splits.test.indices.tolist()) == list(range(30, 42))  # what the archive calls val
        assert (len(splits.train), len(splits.val)) == (24, 6)
    assert afhq.load(str(tmp_path), size=16).shape == (3, 16, 16)
    with pytest.raises(DataError, match="holds no animal faces"):
        afhq.load(str(tmp_path / "nowhere"))


def test_faces_are_downloaded_after_their_licence_was_shown(server, tmp_path):
    faces(tmp_path / "made")
    zip_faces(server.folder / "download", tmp_path / "made")
    said = []
    assert not afhq.source.cached()
    data = load_data("afhq", say=said.append)
    assert afhq.source.cached() and len(said) == 1 and "NonCommercial" in said[0]
    assert data.shape == (3, 32, 32) and len(data.test) == 12
    load_data("afhq", say=said.append)
    assert len(said) == 1 and server.asked == [("https://osf.io/kgfvj/download", "")]


def test_the_first_hash_is_kept_and_another_archive_refused(server, tmp_path):
    faces(tmp_path / "made")
    zip_faces(server.folder / "download", tmp_path / "made")
    afhq.get()
    archive = tmp_path / "home" / "afhq" / "afhq.zip"
    true = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert (tmp_path / "home" / "afhq" / "afhq.zip.sha256").read_text().strip() == true
    afhq.get(sha256=true.upper())
    with pytest.raises(DataError, match="the one asked for has 0000"):
        afhq.get(sha256="0" * 64)
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(DataError, match=f"the one first downloaded has {true}"):
        afhq.get()
    shutil.rmtree(tmp_path / "home" / "afhq" / "unpacked")
    archive.unlink()
    afhq.get()  # fetched again, and the kept hash asked for
    assert server.asked[-1] == ("https://osf.io/kgfvj/download", "sha256")


def test_a_hash_asked_for_has_to_match_at_the_first_download(server, tmp_path):
    faces(tmp_path / "made")
    zip_faces(server.folder / "download", tmp_path / "made")
    with pytest.raises(DataError, match="wrong hash"):
        load_data("afhq", sha256="0" * 64)
    assert not afhq.source.cached()


def test_an_archive_that_cannot_be_unpacked_does_not_block_the_next_try(server, tmp_path):
    (server.folder / "download").write_bytes(b"no archive")
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        afhq.get()
    faces(tmp_path / "made")
    zip_faces(server.folder / "download", tmp_path / "made")
    afhq.get()
    assert afhq.source.cached()


def test_fetching_by_name_takes_the_options_of_the_download(server, tmp_path):
    faces(tmp_path / "made")
    zip_faces(server.folder / "download", tmp_path / "made")
    true, said = hashlib.sha256((server.folder / "download").read_bytes()).hexdigest(), []
    with pytest.raises(UsageError, match="size plays no part in downloading afhq"):
        fetch_data("afhq:size=32")
    assert fetch_data(f"afhq:sha256={true}", say=said.append).cached() and len(said) == 1
    assert server.asked == [("https://osf.io/kgfvj/download", "sha256")]
    assert fetch_data("digits", say=said.append).name == "digits" and len(said) == 1


def test_one_loaded_data_set_is_split_as_if_loaded_for_every_seed():
    dataset, sizes = load_dataset("digits:test=300", train=200)
    assert sizes == {"train": 200, "test": 300}
    for seed in (0, 1):
        assert make_splits(dataset, seed=seed, **sizes).hash == load_data("digits:test=300,train=200", seed=seed).hash
