"""What a study says about one arm, as plain values: three answers, what FGSM would have said, trust and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import statistics
from .differences import one_difference
from .protocol import PROTOCOLS

if TYPE_CHECKING:
    from .comparison import Comparison

ANSWERS = {"clean": "clean_accuracy", "memorization": "memorized_fraction", "robustness": "robust_accuracy"}
_KEPT = ("difference", "low", "high", "n", "p_adjusted", "detectable", "word")


def card(comparison: Comparison, arm: str) -> dict[str, Any]:
    """Return the card of an arm as values that JSON can hold; what is not known, or has no baseline, is None.

    `clean`, `memorization` and `robustness` hold the mean of the arm, that of the baseline, their paired difference and
    its word; they are never made one number. `robustness.holds_at` are the eps at which the interval lies on the same
    side of 0 as at the headline eps, each looked at alone. `fgsm_alone` is what a study with no other attack would
    have said. `attacks` is how many robustness is the worst case over, beside FGSM: 0 where it was not measured.
    `cost` is the number of gradient passes in training, in those of the baseline. `believable` is False where a trust
    flag is red.
    """
    study = comparison.study
    flags = comparison.trust[arm]
    named = {level: [flag["flag"] for flag in flags if flag["level"] == level] for level in ("green", "amber", "red")}
    return {
        "arm": arm,
        "baseline": comparison.arms[0],
        "data": study["data"],
        "model": study["model"],
        "seeds": len(comparison.seeds),
        "preliminary": not PROTOCOLS[study["protocol"]].p_values,
        **{name: _answer(comparison, arm, measure) for name, measure in ANSWERS.items()},
        "eps": study["headline_eps"],
        "norm": study["norm"],
        "attacks": len(study["attacks"]) if "robust_accuracy" in comparison.measures else 0,
        "holds_at": _holds_at(comparison, arm),
        "fgsm_alone": _fgsm_alone(comparison, arm),
        "trust": {"green": len(named["green"]), "amber": named["amber"], "red": named["red"]},
        "cost": _cost(comparison, arm),
        "believable": not named["red"],
    }


def _answer(comparison: Comparison, arm: str, measure: str) -> dict[str, Any]:
    against = comparison.differences[arm].get(measure, {})
    return {
        "mean": _mean(comparison, arm, measure),
        "baseline": _mean(comparison, comparison.arms[0], measure),
        **{key: against.get(key) for key in _KEPT},
    }


def _fgsm_alone(comparison: Comparison, arm: str) -> dict[str, Any]:
    found = _answer(comparison, arm, "fgsm_accuracy")
    pair = comparison.pairs(arm, "fgsm_accuracy")
    if arm != comparison.arms[0] and pair[0]:
        p = comparison.differences[arm]["fgsm_accuracy"]["p"]
        difference = statistics.paired_difference(*pair)  # no red flag blocks it: FGSM alone raises few
        found["word"] = statistics.word(difference, p_adjusted=p, equivalence_p=None, margin=None)
    return found


def _holds_at(comparison: Comparison, arm: str) -> list[float]:
    """The eps of the grid at which the robust accuracies differ to the same side as at the headline eps."""
    side = {"better": 1, "worse": -1}.get(comparison.differences[arm].get("robust_accuracy", {}).get("word", ""))
    if side is None:
        return []
    mine, base = _curves(comparison, arm), _curves(comparison, comparison.arms[0])
    seeds = [seed for seed in mine if seed in base]
    tested = PROTOCOLS[comparison.study["protocol"]].p_values
    holds = []
    for key in mine[seeds[0]] if seeds else ():
        having = [seed for seed in seeds if key in mine[seed] and key in base[seed]]
        pair = [mine[seed][key] for seed in having], [base[seed][key] for seed in having]
        known = having and (tested or not one_difference(*pair))
        found = statistics.paired_difference(*pair) if known else None
        if found and found.low is not None and found.high is not None and min(side * found.low, side * found.high) > 0:
            holds.append(float(key))
    return sorted(holds)


def _curves(comparison: Comparison, arm: str) -> dict[int, Mapping[str, float]]:
    found: dict[int, Mapping[str, float]] = {}
    for record in comparison.of(arm):
        curve = record.measures.get("robust_curve") if record.status == "ok" else None
        if isinstance(curve, Mapping) and record.label_condition == "true":
            found[record.seed] = curve
    return found


def _cost(comparison: Comparison, arm: str) -> float | None:
    mine, base = (_mean(comparison, name, "gradient_passes") for name in (arm, comparison.arms[0]))
    return mine / base if mine is not None and base else None


def _mean(comparison: Comparison, arm: str, measure: str) -> float | None:
    values = comparison.values(arm, measure)
    return sum(values.values()) / len(values) if values else None
