"""5,000 embedded MNIST images, 500 a digit. Where they come from: PROVENANCE.md."""

from __future__ import annotations

from hashlib import sha256
from importlib import resources
from io import BytesIO

import numpy as np
import torch

from ..errors import DataError
from .dataset import Dataset, DataSource

SHA256 = "246e0c30eeea57c8d0037d3f38c8e00651ec204cc61b8022563e9aeeb9d756f4"


def load() -> Dataset:
    """Return the images: uint8 (5000, 1, 28, 28), 500 of each digit.

    Raises:
        DataError: when the embedded file is not the one that was published.

    LeCun et al, Gradient-based learning applied to document recognition, 1998.
    """
    content = resources.files(__package__).joinpath("mnist5k.npz").read_bytes()
    found = sha256(content).hexdigest()
    if found != SHA256:
        raise DataError(
            f"the embedded MNIST images are damaged: sha256 {found}, expected {SHA256}; reinstall robustreg"
        )
    with np.load(BytesIO(content), allow_pickle=False) as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"])
    return Dataset(
        name="mnist5k",
        x=images.unsqueeze(1),
        y=labels.to(torch.int64),
        classes=tuple("0123456789"),
        sizes=(3000, 1000, 1000),
        licence=source.licence,
        source=source.source,
    )


source = DataSource(
    name="mnist5k",
    load=load,
    about="5,000 of the MNIST digits, 28 x 28 pixels, 500 of each; embedded, nothing to download.",
    shape=(1, 28, 28),
    classes=tuple("0123456789"),
    images=5000,
    licence="CC BY-SA 3.0",
    source="LeCun, Cortes and Burges, The MNIST database of handwritten digits",
)
