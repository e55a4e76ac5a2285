"""The state of a run between two epochs as one safetensors file, and back: what a run that was cut off goes on from.

A state is dicts, lists, tuples, tensors and plain values in each other. Its tensors stand in the file by number, the
rest as JSON in the header, beside the identity of the run and a SHA-256 over all of it. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from .errors import DataError

_FORMAT = "robustreg state 1"
_PLAIN = (str, int, float, bool, type(None))


class OtherRunError(DataError):
    """The file is whole, and of another run."""


def to_bytes(state: Mapping[str, Any], identity: str) -> bytes:
    """Return the file of a state (`Session.state_dict()`).

    Args:
        state: equal states give equal bytes.
        identity: of the run: a text that is another for every other run.

    Raises:
        DataError: for a value that no file can hold, such as an object that a plugin keeps as extra state.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_packed(state, tensors))
    try:
        header, content = _parts(save(tensors, metadata={"format": _FORMAT, "identity": identity, "tree": tree}))
    except Exception as error:
        raise DataError(f"a state holds a tensor that no safetensors file can hold: {error}") from error
    header["__metadata__"]["sha256"] = _hash(header, content)
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)  # the format wants its numbers aligned
    return len(text).to_bytes(8, "little") + text + content


def from_bytes(data: bytes, identity: str) -> dict[str, Any]:
    """Return the state in a file's content, of the run with this identity.

    Raises:
        DataError: for anything but what `to_bytes` wrote for this run.
    """
    tree = check(data, identity)
    try:
        found = _unpacked(json.loads(tree), load(data))
    except Exception as error:  # whoever can write a right hash can write anything
        raise DataError(f"it is damaged: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise DataError("it is damaged: it holds no state")
    return found


def check(data: bytes, identity: str) -> str:
    """Return the JSON of the state in a file's content; a DataError unless it is whole and of this run."""
    try:
        header, content = _parts(data)
        about = header["__metadata__"]
        written, found, of, tree = about.pop("sha256"), about["format"], about["identity"], about["tree"]
        if written != _hash(header, content):
            raise ValueError
    except Exception as error:
        raise DataError("it is damaged: its content is not what was written") from error
    if found != _FORMAT:
        raise DataError(f"it was written by another version of robustreg ({found!r:.40})")
    if of != identity:
        raise OtherRunError("it is of another run, or of other settings")
    return str(tree)


def _parts(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header of a safetensors file and the numbers behind it."""
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), memoryview(data)[start:]


def _hash(header: Mapping[str, Any], content: memoryview) -> str:
    found = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    found.update(content)
    return found.hexdigest()


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON has it; plain values as they are, anything else as a list that begins with its kind."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()
        return ["tensor", name]
    if isinstance(value, Mapping):
        return ["dict", *([_packed(key, tensors), _packed(each, tensors)] for key, each in value.items())]
    if type(value) in (list, tuple):
        return [type(value).__name__, *(_packed(each, tensors) for each in value)]
    if not isinstance(value, _PLAIN):
        raise DataError(f"a state holds {value!r:.60}, of the kind {type(value).__name__}, which no file can hold")
    return value


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, list):
        return value
    kind, *inside = value
    if kind == "tensor":
        return tensors[inside[0]]
    if kind == "dict":
        return {_unpacked(key, tensors): _unpacked(each, tensors) for key, each in inside}
    return {"list": list, "tuple": tuple}[kind](_unpacked(each, tensors) for each in inside)
