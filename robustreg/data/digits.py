"""The embedded data set: 1,797 handwritten digits of 8 x 8 pixels. Where they come from: PROVENANCE.md."""

from __future__ import annotations

from hashlib import sha256
from importlib import resources
from io import BytesIO

import numpy as np
import torch

from ..errors import DataError
from .dataset import Dataset, DataSource

SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"
LEVELS = 16  # grey levels above 0: a pixel counts the set bits of a 4 x 4 block


def load() -> Dataset:
    """Return the digits: float32 (1797, 1, 8, 8), multiples of 1/16 in [0, 1]; 174 to 183 of each class.

    Raises:
        DataError: when the embedded file is not the one that was published.

    Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998.
    """
    content = resources.files(__package__).joinpath("digits.npz").read_bytes()
    found = sha256(content).hexdigest()
    if found != SHA256:
        raise DataError(f"the embedded digits are damaged: sha256 {found}, expected {SHA256}; reinstall robustreg")
    with np.load(BytesIO(content), allow_pickle=False) as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"])
    x = images.to(torch.float32).unsqueeze(1) / LEVELS
    return Dataset(
        name="digits",
        x=x,
        y=labels.to(torch.int64),
        classes=tuple("0123456789"),
        sizes=(1000, 297, 500),
        licence=source.licence,
        source=source.source,
    )


source = DataSource(
    name="digits",
    load=load,
    about="1,797 handwritten digits of 8 x 8 pixels with 17 grey levels; embedded, nothing to download.",
    shape=(1, 8, 8),
    classes=tuple("0123456789"),
    images=1797,
    licence="CC BY 4.0",
    source="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998",
)
