"""Parcels: values as bytes that know whether they arrived whole."""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

import cloudpickle

from robustreg.errors import StoreError

SIZE = hashlib.sha256().digest_size


def sealed(value: Any) -> bytes:
    """Return a value as a SHA-256 and its pickle, which may hold functions and classes that no module has."""
    content = cloudpickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return hashlib.sha256(content).digest() + content


def opened(parcel: bytes, sha256: str = "") -> Any:
    """Return the value in a parcel. It is unpickled, so it must come from a private folder.

    Args:
        parcel: what `sealed` returned.
        sha256: the checksum that the parcel must bear, where it is known from elsewhere.

    Raises:
        StoreError: for bytes that are not those which were sealed.
    """
    seal, content = parcel[:SIZE], memoryview(parcel)[SIZE:]
    if hashlib.sha256(content).digest() != seal or (sha256 and seal.hex() != sha256):
        raise StoreError(f"a parcel of {len(parcel):,} bytes is damaged: its checksum is not that of its content")
    return pickle.loads(content)
