"""Accuracy on turned and shifted images. No measure of every study: name it where it is wanted."""

from __future__ import annotations

import torch

from ..attacks.batching import BATCH
from ..attacks.gradients import outputs
from ..attacks.spatial import spatial
from ..inference import untraced
from .measure import Measure
from .subject import Subject, share


def spatial_accuracy(subject: Subject) -> float | None:
    """Return the share of test images that no rotation and shift of `attacks.spatial` breaks; None for no images."""
    if subject.corrupted or not subject.classifies or len(subject.splits.shape) != 3 or not len(subject.splits.test):
        return None
    right = []
    for x, y in subject.splits.test.batches(None, BATCH, subject.device):
        with torch.inference_mode(False), untraced(subject.model):
            right.append(outputs(subject.model, spatial(subject.model, x, y)).argmax(-1) == y)
    return share(torch.cat(right))


SPATIAL_ACCURACY = Measure(
    "spatial_accuracy",
    spatial_accuracy,
    True,
    "Share of test images that no rotation up to 30 degrees with a shift up to a tenth of the image breaks, in [0, 1].",
)
