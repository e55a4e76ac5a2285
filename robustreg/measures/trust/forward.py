"""Whether an image alone decides what the model says of it: no chance, no other images of the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ...inference import untraced
from .evidence import Evidence
from .flag import Flag, flagged

PASSES = 5
DISTANCE = 1e-4  # relative; rounding in another order stays far below


def stochastic_forward(evidence: Evidence) -> Flag:
    """Ask about the same batch `PASSES` times in evaluation mode; red when predictions or logits differ.

    Value: the largest relative distance of a point's logits, |a - b| / |a| in the largest entry; red over `DISTANCE`,
    or when a prediction changes. One pass of such a model proves nothing: success must be averaged over its chance.

    Athalye et al, Synthesizing robust adversarial examples, 2018; Croce and Hein, Reliable evaluation of adversarial
    robustness, 2020 (the check for randomness, and its 1e-4).
    """
    value, flips = _randomness(evidence)
    says = f"{PASSES} passes over the same images differ by {value:.2g} relative, with {flips} predictions changed"
    level = "red" if value > DISTANCE or flips else "green"
    caution = "the model is random, so attacks need expectation over transformation (EOT)"
    return flagged("stochastic_forward", level, value, says, caution)


def batch_dependence(evidence: Evidence) -> Flag | None:
    """Ask about a batch in another order and in two uneven parts; red when predictions or logits differ.

    Value: the largest relative distance as in `stochastic_forward`; red over `DISTANCE`, or when a prediction
    changes, as where batch normalization uses the statistics of the batch it sees. None of a random model, where this
    cannot be told, and of a single point.

    Threshold: ours.
    """
    n = len(evidence.y)
    if n < 2 or _differ(*_randomness(evidence)):
        return None
    with torch.inference_mode(False), untraced(evidence.model), torch.no_grad():
        whole = evidence.model(evidence.x)
        turned = evidence.model(evidence.x.flip(0)).flip(0)
        cut = max(1, n // 3)
        parts = torch.cat([evidence.model(part) for part in (evidence.x[:cut], evidence.x[cut:])])
    value, flips = _spread(torch.stack((whole, turned, parts)))
    says = f"the same images in other batches differ by {value:.2g} relative, with {flips} predictions changed"
    level = "red" if _differ(value, flips) else "green"
    caution = "a result depends on which images share its batch"
    return flagged("batch_dependence", level, value, says, caution)


def _randomness(evidence: Evidence) -> tuple[float, int]:
    with torch.inference_mode(False), untraced(evidence.model), torch.no_grad():
        return _spread(torch.stack([evidence.model(evidence.x) for _ in range(PASSES)]))


def _spread(logits: Tensor) -> tuple[float, int]:
    """The largest relative distance of `(times, n, classes)` logits from the first, and how many predictions change."""
    first = logits[0]
    size = first.abs().amax(-1).clamp_min(torch.finfo(first.dtype).tiny)
    distance = ((logits - first).abs().amax(-1) / size).amax()
    flips = (logits.argmax(-1) != first.argmax(-1)).any(0).sum()
    return float(distance), int(flips)


def _differ(value: float, flips: int) -> bool:
    return not value <= DISTANCE or flips > 0
