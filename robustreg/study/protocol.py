"""Protocols: how many seeds, how long, and how strong the attacks; when a number may be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError, suggest

ENDPOINTS = {"clean_accuracy": 0.01, "memorized_fraction": 0.03, "robust_accuracy": 0.03}
"""The pre-declared endpoints, each with the margin inside which two arms count as equivalent."""

LEVEL = 0.05  # of every test

FITTED = 0.95  # the share of random labels the baseline must fit, or the random-label numbers say little


@dataclass(frozen=True)
class Protocol:
    """The default sizes of a study.

    Attributes:
        seeds: number of seeds.
        epochs: of a training on true or partly corrupted labels.
        random_images: training images of a run on fully random labels, which needs its own budget to be fitted.
        random_epochs: epochs of such a run.
        p_values: whether there are enough seeds for tests; without them a study is preliminary.
    """

    name: str
    seeds: int
    epochs: int = 40
    random_images: int = 300
    random_epochs: int = 100
    p_values: bool = True


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (Protocol("quick", 3, p_values=False), Protocol("standard", 10), Protocol("paper", 20))
}


def judges(study: Mapping[str, Any], last: str = "and") -> str:
    """Return the attacks whose worst case is the robust accuracy of a study, as `pgd, pgd_margin and FGSM`.

    FGSM joins those of the protocol: what it alone breaks is broken, and it never judges alone.
    """
    return f"{', '.join(study['attacks'])} {last} FGSM"


def protocol_of(name: str) -> Protocol:
    """Return the protocol of this name, or raise a UsageError."""
    if name not in PROTOCOLS:
        hint = suggest(name, PROTOCOLS)
        raise UsageError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}.{hint}")
    return PROTOCOLS[name]
