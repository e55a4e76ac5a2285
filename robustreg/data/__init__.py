"""Data sets as tensors, their splits, and labels corrupted on purpose."""

from __future__ import annotations

from .dataset import Dataset, DataSource, Stream
from .labels import MODES, Corruption, corrupt_labels
from .sources import datasets, fetch_data, load_data, load_dataset
from .split import Split, Splits, pixels
from .splitting import as_test, make_splits

__all__ = [
    "MODES",
    "Corruption",
    "DataSource",
    "Dataset",
    "Split",
    "Splits",
    "Stream",
    "as_test",
    "corrupt_labels",
    "datasets",
    "fetch_data",
    "load_data",
    "load_dataset",
    "make_splits",
    "pixels",
]
