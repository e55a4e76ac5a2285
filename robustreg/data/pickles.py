"""Reading pickles that hold nothing but plain values and arrays."""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np

# The only names that such a pickle needs, by where old and new releases of numpy say they are. A pickle can call
# whatever it can name, so it can name nothing else.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,  # how Python 3 writes bytes in the protocol of Python 2
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ValueError(f"the pickle asks for {module}.{name}, which no array needs; it is not read") from None


def load_arrays(file: Path) -> dict[str, Any]:
    """Return the dictionary pickled in `file`, written by Python 2 or 3; a ValueError if it holds more than data."""
    with file.open("rb") as content:
        try:
            values = _Plain(content, encoding="latin1").load()
        except Exception as error:  # a damaged pickle may raise anything, also from inside of numpy
            raise ValueError(f"{file.name} cannot be unpickled: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file.name} holds a {type(values).__name__}, expected a dictionary")
    return values
