"""Whether a study finds a claim again."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .. import statistics
from ..errors import DataError, UsageError
from .claims import Claim, claims

TRUE = "true"  # the label condition of true labels
POINT = 0.01


@dataclass(frozen=True)
class Tie:
    """Which two numbers of a study stand for the two rows of a claim.

    Attributes:
        claim: id of the claim.
        arm: the arm that stands for the row, by its name or its label.
        measure: what is read of it; `robust_curve@0.2` is one point of a curve.
        condition: its label condition.
        against_arm: the arm that stands for the other row.
        against_measure: what is read of that one; the same measure by default.
        against_condition: its label condition; the same by default.
        margin: points within which two numbers count as the same.
    """

    claim: str
    arm: str
    measure: str
    condition: str = TRUE
    against_arm: str = "none"
    against_measure: str = ""
    against_condition: str = ""
    margin: float = 3.0


@dataclass(frozen=True)
class Finding:
    """What a study says about a claim.

    Attributes:
        word: reproduced, contradicted or cannot tell.
        left: mean of the arm over seeds, a fraction.
        right: mean of what it is compared with.
        difference: mean of left minus right over seeds, paired.
        low: lower end of its 95 % t interval, None for one seed.
        high: upper end.
        seeds: how many seeds have both numbers.
    """

    word: str
    left: float
    right: float
    difference: float
    low: float | None
    high: float | None
    seeds: int


def ties(path: str | Path) -> tuple[Tie, ...]:
    """Return the `[[claim]]` tables of a study file, whose `[study]` table is for `robustreg compare -f`.

    Raises:
        DataError: for a file that is not TOML, or a claim with keys that a tie does not have.
        UsageError: for a claim that no table makes.
    """
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("claim", [])
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
    known = {field.name for field in fields(Tie)} - {"claim"} | {"id"}
    for one in found:
        if not {"id", "arm", "measure"} <= set(one) <= known:
            raise DataError(f"{path}: a claim has id, arm, measure and any of {', '.join(sorted(known))}, got {one}")
        if one["id"] not in claims():
            raise UsageError(f"{path}: no table makes the claim {one['id']!r}; see docs/reference.md")
    return tuple(Tie(one["id"], **{key: value for key, value in one.items() if key != "id"}) for one in found)


def judge(tie: Tie, study: Mapping[str, Any]) -> Finding:
    """Return whether a study reproduces a claim.

    *Reproduced* for higher and lower: the 95 % interval of the paired difference lies on that side of 0. For the
    same: it lies within the margin. *Contradicted*: it lies on the other side, or beyond 0 with a mean outside the
    margin. Otherwise, and with one seed, *cannot tell*.

    Args:
        tie: which numbers of the study to take.
        study: `Comparison.to_dict()`, or what `robustreg compare --json` prints.

    Raises:
        UsageError: for an arm that the study does not have, or numbers that no seed has.
    """
    left = _values(study, tie.arm, tie.measure, tie.condition)
    right = _values(study, tie.against_arm, tie.against_measure or tie.measure, tie.against_condition or tie.condition)
    seeds = sorted(set(left) & set(right))
    if not seeds:
        raise UsageError(f"claim {tie.claim}: no seed has {tie.measure} of {tie.arm} and of {tie.against_arm}")
    pairs = [left[seed] for seed in seeds], [right[seed] for seed in seeds]
    found = statistics.paired_difference(*pairs)
    word = _word(claims()[tie.claim], found, tie.margin * POINT)
    mine, other = (sum(values) / len(values) for values in pairs)
    return Finding(word, mine, other, found.mean, found.low, found.high, found.n)


def arm_named(arm: str, known: Iterable[str]) -> str:
    """Return the arm of this name or label (`pgd` for `pgd@pgd_training:0.1`); a UsageError if there is none."""
    names = list(known)
    for name in names:
        if arm in (name, name.partition("@")[0]):
            return name
    raise UsageError(f"the study has no arm {arm!r}; it has {', '.join(names)}")


def _word(claim: Claim, found: statistics.Difference, margin: float) -> str:
    if found.low is None or found.high is None:
        return "cannot tell"
    above, below = found.low > 0, found.high < 0
    if claim.direction == "same":
        if -margin <= found.low and found.high <= margin:
            return "reproduced"
        return "contradicted" if (above or below) and abs(found.mean) > margin else "cannot tell"
    if above or below:
        return "reproduced" if above == (claim.direction == "higher") else "contradicted"
    return "cannot tell"


def _values(study: Mapping[str, Any], arm: str, measure: str, condition: str) -> dict[int, float]:
    """Return a number of an arm by seed, from the runs that finished."""
    known = {one["arm"]: one["runs"] for one in study["arms"]}
    runs = known[arm_named(arm, known)]
    name, _, at = measure.partition("@")
    found: dict[int, float] = {}
    for run in runs:
        if run["label_condition"] == condition and run["status"] == "ok" and name in run["measures"]:
            value = run["measures"][name]
            found[run["seed"]] = value[at] if at else value
    return found
