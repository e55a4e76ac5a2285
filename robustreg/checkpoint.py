"""A trained network as one safetensors file: its weights, and a manifest of what it is."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from .errors import DataError, UsageError
from .plugins import Catalogue
from .regularizer import Regularizer
from .resolve import Buildable, is_import, model_of

_KEY = "robustreg"  # one metadata entry, since the file format does not keep the order of several
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
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY, "{}")
        manifest = json.loads(text)
        return load(data), manifest if isinstance(manifest, dict) else {}
    except Exception as error:
        raise DataError(f"{path} is not a safetensors file: {error}") from error


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
    network = build(shape, int(manifest.get("classes", sizes.get("classes", 0))))
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
    found: nn.Module | None = kind(**knobs).finish(network)
    return network if found is None else found


def load_into(network: nn.Module, path: str | Path, name: str) -> None:
    """Put the weights of a file into a network: safetensors, or a `.pt`, `.pth` or `.bin` file that torch saved.

    The latter is read with `weights_only=True`, so that it cannot run code; it may hold the state itself or have it
    under `state_dict` or `model`.

    Raises:
        DataError: for a file that cannot be read, or weights that do not fit.
    """
    weights = _from_torch(path) if Path(path).suffix in (".pt", ".pth", ".bin") else read(path)[0]
    _fill(network, weights, path, name)


def _from_torch(path: str | Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"model file {path}: {error.strerror}") from error
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read with weights_only=True: {reason}. Save its state_dict anew") from error
    for key in ("state_dict", "model"):
        found = found.get(key, found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise DataError(f"{path} holds no state_dict: expected a mapping of names to tensors")
    return found


def _fill(network: nn.Module, weights: dict[str, Tensor], path: str | Path, name: str) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"the weights in {path} do not fit the model {name}: {str(error).splitlines()[-1]}") from error
