"""Image files as tensors: all at once, or one at a time as a stream."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 1 << 26  # of one file; a larger one is a mistake, or a small file made to fill the memory
GREY = ("1", "L", "LA", "La")
# Whatever a file is called, Pillow goes by what is in it, and for PostScript it would start another program.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
DEEP = ("I", "F", "I;16")  # more than 8 bits a channel: Pillow would clip them without a word

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)  # what Pillow raises for such files

_Result = TypeVar("_Result")


class ImageFiles:
    """Image files as a stream of uint8 tensors (C, H, W), decoded when asked for.

    Args:
        files: the files, in order.
        shape: (C, H, W) of every image, C 1 or 3.
        resize: whether images are stretched to (H, W); otherwise one of another size is an error.
    """

    def __init__(self, files: Sequence[Path], shape: tuple[int, int, int], *, resize: bool) -> None:
        self.files, self.shape, self.resize = tuple(files), shape, resize

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """Return one image; a DataError that names the file if it cannot be read."""
        channels, height, width = self.shape
        with opened(self.files[index]) as image:
            if image.size != (width, height) and not self.resize:
                raise DataError(f"{self.files[index]} is {_size(image.size)} now, it was {width} x {height}")
            # A palette with transparency has to pass RGBA; transparency itself is ignored.
            plain = image.convert("RGBA") if image.mode == "P" else image
            pixels = plain.convert("L" if channels == 1 else "RGB")
            if pixels.size != (width, height):
                from PIL.Image import Resampling

                pixels = pixels.resize((width, height), Resampling.BILINEAR)
            values = np.array(pixels)
        return torch.from_numpy(values.reshape(height, width, channels)).permute(2, 0, 1).contiguous()

    def digests(self) -> list[bytes]:
        """Return the sha256 of every image's values, as `Dataset.digests`; reads every file once."""
        return threaded(lambda index: sha256(self[index].numpy().data).digest(), range(len(self)))

    def tensor(self) -> Tensor:
        """Return all images, uint8 (n, C, H, W)."""
        x = torch.empty((len(self), *self.shape), dtype=torch.uint8)

        def put(index: int) -> None:
            x[index] = self[index]

        threaded(put, range(len(self)))
        return x


def image_files(files: Sequence[Path], *, size: int = 0, channels: int | None = None) -> ImageFiles:
    """Return a stream of the images in `files`, after a look at every file's header.

    Args:
        files: at least one image file.
        size: stretch images to `size` x `size`; 0 when all have one size.
        channels: 1 grey, 3 colour; None for grey if all files are.

    Raises:
        DataError: for a file that cannot be read, or the first one of another size.
    """

    def look(file: Path) -> tuple[tuple[int, int], bool]:
        with opened(file, decode=False) as image:
            return image.size, image.mode in GREY

    looks = threaded(look, files)
    width, height = (size, size) if size else looks[0][0]
    for file, (found, _) in zip(files, looks, strict=True):
        if not size and found != (width, height):
            raise DataError(
                f"images differ in size: {files[0]} is {width} x {height} pixels, {file} is {_size(found)}; "
                "add size=N to stretch all of them to N x N, for example size=32"
            )
    if channels is None:
        channels = 1 if all(grey for _, grey in looks) else 3
    return ImageFiles(files, (channels, height, width), resize=bool(size))


@contextmanager
def opened(file: Path, *, decode: bool = True) -> Iterator[Image.Image]:
    """Open an image file (the first frame of an animation); every way it can be broken is a DataError that names it."""
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise DataError(f"{file} has {width} x {height} pixels, more than {MOST_PIXELS} are not read")
            if image.mode.startswith(DEEP):
                raise DataError(f"{file} has more than 8 bits a channel (mode {image.mode}); convert it to 8")
            if decode:
                image.load()
            yield image
    except Image.DecompressionBombError as error:
        raise DataError(f"{file} has too many pixels to be read: {error}") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        struct.error,
    ) as error:  # what Pillow raises for broken files
        raise DataError(f"{file} cannot be read as an image: {error}; replace it or take it away") from None


def threaded(function: Callable[..., _Result], items: Sequence[object] | range) -> list[_Result]:
    """Return `[function(item) for item in items]`, made by several threads; the first error in order is raised."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
