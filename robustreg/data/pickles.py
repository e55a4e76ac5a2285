"""Reading pickles that hold nothing but plain values and arrays."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import printable

_KINDS = "biuf"  # truth values and numbers; an array of objects would hold addresses


class _Kind:
    """Stands for numpy.dtype, which could be told that the bytes of an array are objects."""

    def __init__(self, name: Any, *more: Any) -> None:
        self.order = "="
        self.kind = np.dtype(str(name))
        if self.kind.kind not in _KINDS:
            raise ValueError(f"the pickle asks for elements of type {name}, which no array needs; it is not read")

    def __setstate__(self, state: Any) -> None:
        self.kind = self.kind.newbyteorder({"|": "="}.get(state[1], state[1]))


class _Array:
    """Stands for numpy.ndarray, which could be laid over memory that is not its own."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_column, content = state
        if not isinstance(kind, _Kind):
            raise ValueError("it holds an array of no type")
        data = content.encode("latin1") if isinstance(content, str) else content
        values = np.frombuffer(data, dtype=kind.kind)
        self.values = values.reshape(shape, order="F" if by_column else "C").copy(order="K")


def _reconstruct(cls: Any, shape: Any, code: Any) -> _Array:
    if cls is not _ARRAY:
        raise ValueError("it holds an array that is not numpy's")
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"it holds text encoded as {encoding}, expected latin1")
    return text.encode("latin1")


_ARRAY = "ndarray"  # nothing that could be called

# The only names that such a pickle needs, by where old and new releases of numpy say they are. A pickle can call
# whatever it can name, with whatever it likes; so it can name nothing else, and not even numpy's own.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes in the protocol of Python 2
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ValueError(f"the pickle asks for {module}.{name}, which no array needs; it is not read") from None


def load_arrays(file: Path) -> dict[str, Any]:
    """Return the dictionary pickled in `file`, written by Python 2 or 3; a ValueError if it holds more than data.

    Its arrays, of numbers, are values of the dictionary itself.
    """
    with file.open("rb") as content:
        try:
            values = _Plain(content, encoding="latin1").load()
        except Exception as error:  # a damaged pickle may raise anything
            raise ValueError(f"{file.name} cannot be unpickled: {printable(str(error))}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file.name} holds a {type(values).__name__}, expected a dictionary")
    return {key: value.values if isinstance(value, _Array) else value for key, value in values.items()}
