"""Six well-known data sets, read by torchvision's classes and downloaded by ours.

torchvision's own download falls back to plain http and unpacks archives unchecked, and it unpickles CIFAR's files
without limits; so files are fetched and unpacked here, into the layout its classes read, and CIFAR's are read here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ..errors import DataError
from .archive import gunzip, unpack
from .dataset import Dataset, DataSource
from .download import data_home, fetch
from .pickles import load_arrays

DIGITS = tuple("0123456789")

_Part = tuple[np.ndarray, Any]


@dataclass(frozen=True)
class _Set:
    """What has to be known about a data set before torchvision is imported."""

    name: str
    kind: str  # how it is stored: idx, pickles or mat
    torchvision: str  # the name of its class
    url: str  # the folder the files are in, with / at the end, or the one archive
    files: tuple[str, ...]  # what is there when it can be loaded, below the root
    size: int
    images: int
    shape: tuple[int, int, int]
    classes: int
    licence: str
    about: str


def _idx(name: str, cls: str, url: str, size: int, licence: str, about: str) -> _Set:
    kinds = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    files = tuple(f"{cls}/raw/{kind}-ubyte" for kind in kinds)
    return _Set(name, "idx", cls, url, files, size, 70_000, (1, 28, 28), 10, licence, about)


_CIFAR_LICENCE = "none stated; for research, cite Krizhevsky, Learning multiple layers of features, 2009"
_CIFAR10_FILES = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta")

SETS = (
    _idx(
        "mnist",
        "MNIST",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        11_594_722,
        "CC BY-SA 3.0",
        "Handwritten digits, 60,000 to train and 10,000 to test (LeCun et al, 1998).",
    ),
    _idx(
        "fashion-mnist",
        "FashionMNIST",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        30_878_645,
        "MIT",
        "Pieces of clothing, 60,000 to train and 10,000 to test (Xiao et al, 2017).",
    ),
    _idx(
        "kmnist",
        "KMNIST",
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        21_240_888,
        "CC BY-SA 4.0",
        "Cursive Japanese characters, 60,000 to train and 10,000 to test (Clanuwat et al, 2018).",
    ),
    _Set(
        "cifar10",
        "pickles",
        "CIFAR10",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        tuple(f"cifar-10-batches-py/{file}" for file in _CIFAR10_FILES),
        170_498_071,
        60_000,
        (3, 32, 32),
        10,
        _CIFAR_LICENCE,
        "Colour photographs of 10 classes, 50,000 to train and 10,000 to test (Krizhevsky, 2009).",
    ),
    _Set(
        "cifar100",
        "pickles",
        "CIFAR100",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        tuple(f"cifar-100-python/{file}" for file in ("train", "test", "meta")),
        169_001_437,
        60_000,
        (3, 32, 32),
        100,
        _CIFAR_LICENCE,
        "Colour photographs of 100 classes, 50,000 to train and 10,000 to test (Krizhevsky, 2009).",
    ),
    _Set(
        "svhn",
        "mat",
        "SVHN",
        "https://ufldl.stanford.edu/housenumbers/",
        ("train_32x32.mat", "test_32x32.mat"),
        246_316_178,
        99_289,
        (3, 32, 32),
        10,
        "non-commercial use only",
        "Digits of house numbers, 73,257 to train and 26,032 to test (Netzer et al, 2011).",
    ),
)


def _home(which: _Set) -> Path:
    return data_home() / "torchvision" / which.name


def _missing(which: _Set, root: Path) -> list[str]:
    return [file for file in which.files if not (root / file).is_file()]


def torchvision_datasets() -> ModuleType:
    """Return `torchvision.datasets`; a DataError that says what to do when it cannot be imported."""
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError, OSError, AttributeError) as error:  # all of them occur when versions do not fit
        raise DataError(
            f"torchvision cannot be imported ({type(error).__name__}: {error}). Each release of it fits one release of "
            f"torch, and torch here is {torch.__version__}: reinstall both together, `pip install -U torch torchvision`"
        ) from error
    return datasets


def load(which: _Set, path: str = "", say: Callable[[str], None] | None = None) -> Dataset:
    """Return one of the sets as uint8 (n, C, H, W), with the parts train and test it comes with.

    Args:
        which: the set.
        path: a folder that holds it in torchvision's layout; by default it is kept, and if needed downloaded, in the
            data folder.
        say: is called with a message before a download.

    Raises:
        DataError: when it is not there, damaged, or cannot be downloaded.
    """
    root = Path(path).expanduser() if path else _home(which)
    if not path:
        get(which, say)
    elif missing := _missing(which, root):
        raise DataError(f"{root} does not hold {which.name}: {', '.join(missing)} not found below it")
    cls = getattr(torchvision_datasets(), which.torchvision)
    try:
        train, test, classes = _READ[which.kind](cls, root)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, EOFError, AssertionError) as error:
        raise DataError(
            f"{which.name} in {root} is damaged: {error}; delete that folder, then `robustreg data get {which.name}`"
        ) from error
    labels = [torch.as_tensor(np.asarray(y), dtype=torch.int64) for _, y in (train, test)]
    return Dataset(
        name=which.name,
        x=torch.cat([torch.from_numpy(np.ascontiguousarray(x)) for x, _ in (train, test)]),
        y=torch.cat(labels),
        classes=classes,
        part=torch.cat([torch.full((len(y),), part, dtype=torch.int8) for y, part in zip(labels, (0, 2), strict=True)]),
        licence=which.licence,
        source=which.url,
    )


def get(which: _Set, say: Callable[[str], None] | None = None) -> None:
    """Download one of the sets into the data folder, if it is not there; errors as `download.fetch`."""
    root = _home(which)
    if not _missing(which, root):
        return
    if say is not None:
        say(f"downloading {which.name}, {which.size / 1e6:.0f} MB, from {which.url}; licence: {which.licence}")
    cls = getattr(torchvision_datasets(), which.torchvision)
    limit = which.size + (1 << 20)
    if which.kind == "pickles":
        archive = fetch(which.url, known_hash=f"md5:{cls.tgz_md5}", to=root.with_suffix(".tar.gz"), max_bytes=limit)
        unpack(archive, root)
        archive.unlink()
    elif which.kind == "idx":
        raw = root / cls.__name__ / "raw"
        for file, md5 in cls.resources:
            archive = fetch(which.url + file, known_hash=f"md5:{md5}", to=raw / file, max_bytes=limit)
            gunzip(archive, archive.with_suffix(""))
    else:
        for part in ("train", "test"):
            _, file, md5 = cls.split_list[part]
            fetch(which.url + file, known_hash=f"md5:{md5}", to=root / file, max_bytes=limit)


def _read_idx(cls: Any, root: Path) -> tuple[_Part, _Part, tuple[str, ...]]:
    parts = [cls(root, train=train, download=False) for train in (True, False)]
    train, test = ((part.data.unsqueeze(1).numpy(), part.targets) for part in parts)
    return train, test, tuple(name.split(" - ")[0] for name in cls.classes)


def _read_pickles(cls: Any, root: Path) -> tuple[_Part, _Part, tuple[str, ...]]:
    from pooch import file_hash

    folder = root / cls.base_folder

    def read(file: str, md5: str) -> dict[str, Any]:
        if file_hash(folder / file, alg="md5") != md5:
            raise ValueError(f"{file} is not the file that was published")
        return load_arrays(folder / file)

    def part(files: list[list[str]]) -> _Part:
        batches = [read(*file) for file in files]
        x = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        return x, [y for batch in batches for y in batch["labels" if "labels" in batch else "fine_labels"]]

    meta = read(cls.meta["filename"], cls.meta["md5"])
    return part(cls.train_list), part(cls.test_list), tuple(meta[cls.meta["key"]])


def _read_mat(cls: Any, root: Path) -> tuple[_Part, _Part, tuple[str, ...]]:
    train, test = (cls(root, split=split, download=False) for split in ("train", "test"))
    return (train.data, train.labels), (test.data, test.labels), DIGITS


_READ = {"idx": _read_idx, "pickles": _read_pickles, "mat": _read_mat}


def _source(which: _Set) -> DataSource:
    def load_it(path: str = "", say: Callable[[str], None] | None = None) -> Dataset:
        return load(which, path, say)

    return DataSource(
        name=which.name,
        load=load_it,
        about=which.about,
        shape=which.shape,
        classes=which.classes,
        images=which.images,
        size=which.size,
        licence=which.licence,
        source=which.url,
        cached=lambda: not _missing(which, _home(which)),
        get=partial(get, which),
    )


sources = tuple(_source(which) for which in SETS)
