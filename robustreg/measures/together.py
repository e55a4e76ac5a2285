"""Several subjects measured at once: what is expensive, attacks and trust flags, for all models in one go."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..attacks.batching import BATCH
from ..attacks.driver import evaluate_together
from .subject import Subject
from .trust.judging import judge_together

PIXELS = 4_000_000  # of test images that are attacked at once: more does not fit a cache, and gains nothing


def attack_together(subjects: Sequence[Subject], *, trust: bool = True) -> None:
    """Make the attack reports of several subjects, and their trust, and leave them where the subjects look for them.

    They are those that each subject would make by itself; together they take less time where models are small.
    Subjects that differ in architecture, threat models or attacks, or are not attacked at all, are left alone. So are
    those that an error meets: each meets its own when it is asked.

    Args:
        subjects: any; those with a report already keep it.
        trust: make the trust flags, too.
    """
    for group in _alike(subjects):
        try:
            _plant(group, trust)
        except Exception:  # whose fault it is shows when each is measured by itself
            continue


def _plant(group: list[Subject], trust: bool) -> None:
    first = group[0]
    points = [_points(subject) for subject in group]
    reports = evaluate_together(
        [subject.model for subject in group],
        [x for x, _ in points],
        [y for _, y in points],
        first.attacks,
        first.eps_grid,
        headline=first.headline_eps,
        norm=first.norm,
        seeds=[subject.seed for subject in group],
    )
    for subject, report in zip(group, reports, strict=True):
        vars(subject)["attack_report"] = report  # where cached_property looks
    if trust:
        for subject, found in zip(group, judge_together(group), strict=True):
            vars(subject)["trust"] = found


def _points(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(subject.splits.test.batches(None, BATCH, subject.device))
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return x, y


def _alike(subjects: Sequence[Subject]) -> Iterator[list[Subject]]:
    """Yield groups of two or more subjects that are attacked alike, none with more than `PIXELS`."""
    groups: list[tuple[tuple[Any, ...], list[Subject]]] = []
    for subject in subjects:
        test = subject.splits.test
        if subject.corrupted or not subject.classifies or not len(test) or "attack_report" in vars(subject):
            continue
        key = _kind(subject)
        fits = (members for other, members in groups if other == key and _pixels([*members, subject]) <= PIXELS)
        members = next(fits, None)
        if members is None:
            groups.append((key, [subject]))
        else:
            members.append(subject)
    for _, members in groups:
        if len(members) > 1:
            yield members


def _kind(subject: Subject) -> tuple[Any, ...]:
    """What must be equal for subjects to be attacked together."""
    state = [(name, value.shape, value.dtype) for name, value in subject.model.state_dict().items()]
    layers = [type(module) for module in subject.model.modules()]
    threat = subject.norm, tuple(subject.eps_grid), subject.headline_eps, list(subject.attacks)
    return str(subject.device), tuple(subject.splits.test.shape), state, layers, threat


def _pixels(subjects: Sequence[Subject]) -> int:
    return sum(len(subject.splits.test) * math.prod(subject.splits.test.shape) for subject in subjects)
