"""A trained network as one safetensors file: its weights, and a manifest of what it is."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .errors import DataError, RobustregError, UsageError, printable
from .manifest import checked_manifest
from .plugins import Catalogue
from .regularizer import Regularizer
from .resolve import Buildable, is_import, model_of
from .spec import parse_term

_KEY = "robustreg"  # one metadata entry, since the file format does not keep the order of several
_SMALL = 1_000_000  # numbers that any machine has room for
_CALLS = 1000  # of torch, for each tensor of a network
_ASK = "if you trust where it is from, say --allow-pt (allow_pt=True in Python), or save its state_dict as safetensors"
_AROUND = "at_inference"  # regularizers that a network computes with


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's state on the CPU, as a file can hold it."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}


def around(regularizers: Iterable[Regularizer]) -> dict[str, Any]:
    """Return what a manifest says of the regularizers that the network computes with after training, too."""
    found = [member.settings() | {"name": type(member).name} for member in regularizers if member.at_inference]
    return {_AROUND: found} if found else {}


def to_bytes(weights: dict[str, Tensor], manifest: dict[str, Any]) -> bytes:
    """Return the file of these weights; equal weights and manifest give equal bytes."""
    return save(weights, metadata={_KEY: json.dumps(manifest, sort_keys=True)})


def from_bytes(data: bytes, like: nn.Module) -> nn.Module:
    """Return a copy of the network `like` with the weights of a file's content, in evaluation mode."""
    network = copy.deepcopy(like)
    network.load_state_dict(load(data))
    return network.eval()


def checked(path: str | Path, sha256: str | None = None) -> bytes:
    """Return the content of a file; a DataError when it is missing, or its hash is not `sha256`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"model file {path}: {error.strerror}") from error
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"model file {path} has changed since it was written; remove it and train the run again")
    return data


def read(path: str | Path, sha256: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights and manifest of a file (empty when it was not written by robustreg).

    Raises:
        DataError: when it is missing, is no safetensors file, or its hash is not `sha256`.
    """
    data = checked(path, sha256)
    if is_pickle(data):
        raise DataError(f"{path} is not a safetensors file but a pickle, as torch.save writes; {_ASK}")
    try:
        weights = load(data)
        header = json.loads(
            data[8 : 8 + int.from_bytes(data[:8], "little")]
        )  # of what was hashed, not of what is there
        manifest = json.loads(header.get("__metadata__", {}).get(_KEY, "{}"))
    except Exception as error:
        raise DataError(f"{path} is not a safetensors file: {printable(str(error))}") from error
    return weights, checked_manifest(manifest, path)


def restore(path: str | Path, catalogue: Catalogue, model: Buildable | None = None, **sizes: Any) -> nn.Module:
    """Return the network of a file, in evaluation mode.

    Args:
        path: a safetensors file.
        catalogue: where the name of its model is looked up.
        model: how the network is made; the manifest's model when None. A manifest never makes us import code:
            a network of the user's own has to be named here.
        **sizes: `shape` and `classes`, for a file without a manifest.

    Raises:
        DataError: for a file that cannot be read, or weights that do not fit the network.
        UsageError: when nobody says what the network is.
    """
    weights, manifest = read(path)
    name = model if model is not None else manifest.get("model")
    if name is None:
        raise UsageError(f"{path} does not say which network it holds; name it with --model")
    if model is None and is_import(str(name), catalogue):
        raise UsageError(f"the network of {path} is made by {name}; to import that code, say --model {name}")
    shape = tuple(manifest.get("shape", sizes.get("shape", ())))
    _, build = model_of(name, catalogue)
    classes = int(manifest.get("classes", sizes.get("classes", 0)))
    if model is None:
        _refuse_larger(lambda: build(shape, classes), str(name), weights, path)
    try:
        network = build(shape, classes)
    except RobustregError:
        raise
    except Exception as error:
        said = printable(f"{type(error).__name__}: {error}")
        raise DataError(f"the network of {path}, {name}, cannot be made for images of shape {shape}: {said}") from error
    for settings in manifest.get(_AROUND, ()):
        network = _inside(network, settings, catalogue, path)
    _fill(network, weights, path, str(name))
    return network.eval()


def _inside(network: nn.Module, settings: Mapping[str, Any], catalogue: Catalogue, path: str | Path) -> nn.Module:
    """The network as a regularizer that was named in a manifest finishes it."""
    knobs = dict(settings)
    name = str(knobs.pop("name", ""))
    kind = catalogue.offers["regularizers"].get(name)
    if kind is None or not kind.at_inference:
        raise UsageError(f"the network of {path} computes with the regularizer {name!r}, which is not installed here")
    try:
        found: nn.Module | None = kind(**knobs).finish(network)
    except RobustregError:
        raise
    except Exception as error:
        raise DataError(f"{path} says that {name!r} is part of its network, which fails: {error}") from error
    return network if found is None else found


def _refuse_larger(build: Callable[[], nn.Module], name: str, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise a DataError if a manifest names a much larger network than the file holds: it would fill the memory."""
    held = sum(tensor.numel() for tensor in weights.values())
    most = 2 * held + _SMALL
    if any(isinstance(value, int) and value > most for each in parse_term(name).settings for value in each.values):
        raise DataError(f"{path} holds {held:,} numbers, and names a larger network: {name:.80}")
    try:
        with torch.device("meta"), _Counted(_CALLS * (1 + len(weights))):  # tensors with shapes and no content
            needed = sum(tensor.numel() for tensor in build().state_dict().values())
    except RobustregError:
        raise
    except Exception:  # a network that cannot be made so is made as it can
        return
    if needed > most:
        raise DataError(f"{path} holds {held:,} numbers, and the network that it names has {needed:,}")


class _Counted(TorchFunctionMode):
    """Ends the building of a network that takes more than so many calls of torch."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._left -= 1
        if self._left < 0:
            raise DataError("the network that the file names has many more layers than the file has weights")
        return func(*args, **(kwargs or {}))


def load_into(network: nn.Module, path: str | Path, name: str, *, allow_pt: bool = False) -> None:
    """Put the weights of a safetensors file into a network, or with `allow_pt` of a file that torch saved.

    The latter (`.pt`, `.pth`, `.bin`) is a pickle, whatever it is called. It is read only when asked for, and with
    `weights_only=True`: it cannot name code, and is still read by more of torch than a safetensors file is. It may hold
    the state itself or have it under `state_dict` or `model`.

    Raises:
        DataError: for a file that cannot be read, or weights that do not fit.
    """
    data = checked(path)
    weights = _from_torch(data, path) if allow_pt and is_pickle(data) else read(path)[0]
    _fill(network, weights, path, name)


def is_pickle(data: bytes) -> bool:
    """Tell whether the content of a file is what `torch.save` writes: a zip archive, or before torch 1.6 a pickle."""
    return data.startswith((b"PK\x03\x04", b"\x80\x02"))


def _from_torch(data: bytes, path: str | Path) -> dict[str, Tensor]:
    try:
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:  # torch compresses nothing; a bomb has to
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise ValueError("it is compressed")
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        reason = printable(next(iter(str(error).splitlines()), type(error).__name__))
        raise DataError(f"{path} cannot be read with weights_only=True: {reason}. Save its state_dict anew") from error
    for key in ("state_dict", "model"):
        found = found.get(key, found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in found.items()
    ):
        raise DataError(f"{path} holds no state_dict: expected a mapping of names to tensors")
    return found


def _fill(network: nn.Module, weights: dict[str, Tensor], path: str | Path, name: str) -> None:
    try:
        network.load_state_dict(weights)
    except Exception as error:
        raise DataError(
            f"the weights in {path} do not fit the model {name}: {printable(str(error).splitlines()[-1])}"
        ) from error
