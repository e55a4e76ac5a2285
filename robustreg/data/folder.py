"""Any folder of images: `PATH/CLASS/*.png`, or `PATH/{train,val,test}/CLASS/*.png`."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import DataError, UsageError, suggest
from .dataset import Dataset, DataSource
from .images import image_files

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
LAYOUT = "expected PATH/CLASS/*.png, or PATH/train/CLASS/*.png with val and test beside train"

_PARTS = ("train", "val", "test")
_STREAM = ("auto", "true", "false")
_CHANNELS = {"auto": None, "1": 1, "3": 3}


def load(path: str, size: int = 0, channels: str = "auto", stream: str = "auto", memory: float = 2.0) -> Dataset:
    """Return the images below a folder, uint8; the class folders, sorted by name, are the classes.

    Args:
        path: the folder, with class folders in it, or `train` (and `val`, `test`) with class folders in each.
        size: stretch every image to size x size pixels; 0 when all have one size already.
        channels: 1 grey, 3 colour, or auto: grey if all images are.
        stream: read images when needed (true), keep all in memory (false), or decide by `memory` (auto).
        memory: the most to keep in memory, in GB of pixels as uint8.

    Raises:
        DataError: for a folder that is not laid out so, an empty class, or an image that cannot be read.
        UsageError: for an option with a value it cannot have.
    """
    for name, value, known in (("stream", stream, _STREAM), ("channels", channels, tuple(_CHANNELS))):
        if value not in known:
            raise UsageError(f"folder: {name} must be one of {', '.join(known)}, got {value!r}.{suggest(value, known)}")
    if size < 0:
        raise UsageError(f"folder: size must be a positive number of pixels, got {size}")
    root = Path(path).expanduser()
    classes, parts, files, labels = scan(root)
    images = image_files(files, size=size, channels=_CHANNELS[channels])
    big = len(images) * torch.Size(images.shape).numel() > memory * 1e9
    streamed = stream == "true" or (stream == "auto" and big)
    return Dataset(
        name=f"folder:{root.resolve().name}",
        x=images if streamed else images.tensor(),
        y=torch.tensor(labels),
        classes=classes,
        part=torch.tensor(parts, dtype=torch.int8) if any(parts) else None,
        source=str(path),
        notes=("images are read from their files batch by batch",) if streamed else (),
    )


def scan(root: Path) -> tuple[tuple[str, ...], list[int], list[Path], list[int]]:
    """Return class names, and part (0 train, 1 validation, 2 test), file and class number of every image below `root`.

    Raises:
        DataError: for a folder that is missing or not laid out as expected.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {what}; {LAYOUT}")
    top = _folders(root)
    names = [folder.name for folder in top]
    if not (root / "train").is_dir() or not _folders(root / "train"):
        if any((root / part).is_dir() and _folders(root / part) for part in _PARTS):
            raise DataError(f"{root} has {', '.join(names)} but no train folder with class folders in it; {LAYOUT}")
        return _gather(root, {0: root})
    for name in names:
        if name not in _PARTS:
            raise DataError(
                f"{root} has a train folder, and beside it {name!r}, which is none of {', '.join(_PARTS)}; "
                f"rename it or take it away.{suggest(name, _PARTS)}"
            )
    return _gather(root, {part: root / name for part, name in enumerate(_PARTS) if name in names})


def _gather(root: Path, parts: dict[int, Path]) -> tuple[tuple[str, ...], list[int], list[Path], list[int]]:
    classes: tuple[str, ...] = ()
    numbers: list[int] = []
    files: list[Path] = []
    labels: list[int] = []
    for part, folder in parts.items():
        found = _folders(folder)
        names = tuple(each.name for each in found)
        if len(names) < 2:
            what = f"only one class folder, {names[0]!r}" if names else "no class folders"
            raise DataError(f"{folder} has {what}; at least 2 are needed: {LAYOUT}")
        classes = classes or names
        if names != classes:
            odd = ", ".join(sorted(set(names) ^ set(classes)))
            raise DataError(f"{root}: train and {folder.name} have different classes; only one of them has {odd}")
        for label, each in enumerate(found):
            images = sorted(file for file in each.iterdir() if _is_image(file))
            if not images:
                raise DataError(f"class folder {each} has no images ({' '.join(SUFFIXES)}); add some or take it away")
            files += images
            labels += [label] * len(images)
            numbers += [part] * len(images)
    return classes, numbers, files, labels


def _folders(path: Path) -> list[Path]:
    """The folders in `path`, by name, without those that operating systems and notebooks leave behind."""
    return sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith((".", "__MACOSX")))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


source = DataSource(
    name="folder",
    load=load,
    about="Any folder of images, one folder a class: folder:PATH,size=32.",
    licence="yours",
    source="a folder of the user",
)
