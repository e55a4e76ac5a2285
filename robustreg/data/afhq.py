"""Animal faces of 32 x 32 pixels, as the regularization tutorial uses them; not ours to hand on, so downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import DataError
from . import folder
from .archive import unpack
from .dataset import Dataset, DataSource
from .download import data_home, fetch

URL = "https://osf.io/kgfvj/download"
MAX_BYTES = 1 << 30
LICENCE = "CC BY-NC 4.0"
NOTICE = (
    "AFHQ (Choi et al, StarGAN v2: diverse image synthesis for multiple domains, 2020) is licensed under Creative "
    "Commons Attribution-NonCommercial 4.0 (https://creativecommons.org/licenses/by-nc/4.0/): it may be used and "
    "changed for non-commercial purposes, and its authors have to be named. "
    f"Downloading it from {URL}"
)


def load(path: str = "", sha256: str = "", size: int = 32, say: Callable[[str], None] | None = None) -> Dataset:
    """Return the faces of cats, dogs and wild animals, uint8 (n, 3, size, size).

    The archive's `val` part, 500 images a class, which the tutorial never looked at, is the test part here.

    Args:
        path: a folder with the layout afhq/{train,val}/{cat,dog,wild}, or that afhq folder; by default the archive is
            kept, and if needed downloaded, in the data folder.
        sha256: what the archive must hash to (hex); by default what it hashed to when first downloaded.
        size: pixels an edge.
        say: is called with the licence before a download.

    Raises:
        DataError: when it is not there, damaged, another archive than before, or cannot be downloaded.
    """
    if path:
        where = Path(path).expanduser()
    else:
        get(sha256, say)
        where = _home() / "unpacked"
    data = folder.load(str(_root(where)), size=size, channels="3")
    if data.part is None:
        raise DataError(f"{where} has no val folder beside train; {_LAYOUT}")
    # Whatever the archive held back is for testing; validation is drawn from train.
    part = torch.where(data.part > 0, 2, 0).to(torch.int8)
    return replace(data, name="afhq", part=part, licence=LICENCE, source=path or URL)


def get(sha256: str = "", say: Callable[[str], None] | None = None) -> None:
    """Download the archive into the data folder and unpack it, if it is not there.

    Nobody publishes its hash. So the hash of the first download is kept beside it and the archive has to match it from
    then on; with `sha256` it has to match that. Errors as `load`.
    """
    home = _home()
    archive, note = home / "afhq.zip", home / "afhq.zip.sha256"
    first = note.read_text().strip() if note.is_file() else ""
    if not (archive.is_file() or (home / "unpacked").is_dir()):
        if say is not None:
            say(NOTICE)
        expected = sha256 or first
        fetch(URL, known_hash=f"sha256:{expected}" if expected else None, to=archive, max_bytes=MAX_BYTES)
    found = _hash(archive) if archive.is_file() else first
    for expected, what in ((sha256.lower(), "asked for"), (first, "first downloaded")):
        if expected and found != expected:
            raise DataError(
                f"{archive} has sha256 {found}, the one {what} has {expected}; if you trust what is on the server, "
                f"delete the folder {home} and download again"
            )
    if not first:
        note.write_text(found + "\n")
    if not (home / "unpacked").is_dir():
        try:
            unpack(archive, home / "unpacked")
        except DataError:
            if not first:  # nobody has ever used it: the next try starts from nothing
                archive.unlink()
                note.unlink()
            raise


_LAYOUT = "expected afhq/train/{cat,dog,wild} and afhq/val/{cat,dog,wild} with images"


def _home() -> Path:
    return data_home() / "afhq"


def _hash(archive: Path) -> str:
    from pooch import file_hash

    return str(file_hash(archive))


def _root(where: Path) -> Path:
    """The folder that holds train: the one named, or one in it."""
    inside = sorted(each for each in where.iterdir() if each.is_dir()) if where.is_dir() else []
    for candidate in (where, where / "afhq", *inside):
        if (candidate / "train").is_dir():
            return candidate
    raise DataError(f"{where} holds no animal faces; {_LAYOUT}")


source = DataSource(
    name="afhq",
    load=load,
    about="Animal faces of the regularization tutorial: cat, dog, wild; 14,630 to train and 1,500 to test.",
    shape=(3, 32, 32),
    classes=("cat", "dog", "wild"),
    images=16_130,
    licence=LICENCE,
    source=URL,
    cached=lambda: (_home() / "unpacked").is_dir(),
    get=get,
)
