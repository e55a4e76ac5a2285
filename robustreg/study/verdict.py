"""What a study says, in sentences of fixed words: three separate answers, and never one score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import unmeasured
from .differences import seeds_needed
from .protocol import ENDPOINTS, FITTED, PROTOCOLS, judges

if TYPE_CHECKING:
    from .comparison import Comparison

WORDS = ("better", "worse", "equivalent", "cannot tell")
FLATTERED = 0.05  # FGSM's difference beyond the worst case's that is worth a sentence


def sentences(comparison: Comparison) -> list[str]:
    """Return how sure, then clean accuracy, memorization and robustness, then what FGSM alone would have said."""
    study = comparison.study
    where = f"on {study['data']} with {study['model']}"
    attacked = f"at eps {study['headline_eps']:g} ({study['norm']}), empirical, against {judges(study)}"
    said = [*_unfinished(study), _how_sure(comparison)]
    said += _answer(comparison, "clean_accuracy", f"Clean accuracy {where}")
    said += _answer(comparison, "memorized_fraction", f"Memorization of random labels {where}") + _fitted(comparison)
    said += _answer(comparison, "robust_accuracy", f"Robust accuracy {where} {attacked}")
    return said + _unmeasured(comparison) + _front(comparison) + _fgsm(comparison) + _lost(comparison)


def _unfinished(study: dict[str, Any]) -> list[str]:
    found = study.get("unfinished")
    if not found:
        return []
    damaged = f", {found['damaged']} rows of the store are damaged" if found["damaged"] else ""
    return [
        f"Unfinished: {found['missing']} of {found['runs']} runs are missing{damaged}; what follows is said from the"
        " others, and may change."
    ]


def too_few(seeds: int, arms: int) -> str:
    """Return a sentence when so few seeds can never find a difference between so many arms and the baseline."""
    needed = seeds_needed(arms)
    if arms < 1 or seeds >= needed:
        return ""
    least = min(1.0, 2 * arms / 2**seeds)
    return (
        f"With {seeds} seeds and {arms} arm{'s' * (arms > 1)} beside none no adjusted p can be below {least:.2g}, so"
        f" nothing can be found better or worse: {needed} seeds are needed."
    )


def _how_sure(comparison: Comparison) -> str:
    study, seeds = comparison.study, len(comparison.seeds)
    if not seeds:
        return "No run is finished, so there is nothing to compare yet."
    planned = len(study["seeds"])
    several = f"{seeds} paired" if seeds == planned else f"{seeds} of {planned} paired"
    opening = f"{several} seed{'s' * (planned > 1)}, {study['protocol']} protocol:"
    if PROTOCOLS[study["protocol"]].p_values:
        said = f"{opening} Holm-adjusted sign-flip tests within each answer."
        return f"{said} {too_few(seeds, len(comparison.arms) - 1)}".strip()
    return f"{opening} preliminary, no p-values."


def _answer(comparison: Comparison, measure: str, opening: str) -> list[str]:
    by_word: dict[str, list[str]] = {word: [] for word in WORDS}
    detectable: list[float] = []
    for arm in comparison.arms[1:]:
        found = comparison.differences[arm].get(measure)
        if found is None:
            continue
        text = f"{arm} {_points(found['difference'])}"
        if found["low"] is not None:
            text += f" [{_points(found['low'])}, {_points(found['high'])}]"
        elif found["n"] > 1:
            text += " (the same on every seed)"
        if found["p_adjusted"] is not None:
            text += f" p={found['p_adjusted']:.2g}"
        by_word[found["word"]].append(text)
        if found["word"] == "cannot tell" and found["detectable"] is not None:
            detectable.append(found["detectable"])
    parts = [f"{word}: {', '.join(by_word[word])}" for word in WORDS[:3] if by_word[word]]
    if by_word["cannot tell"]:
        could = f" (could have seen {_range(detectable)} points)" if detectable else ""
        parts.append(f"cannot tell: {', '.join(by_word['cannot tell'])}{could}")
    return [f"{opening}, in points against none: {'; '.join(parts)}."] if parts else []


def _unmeasured(comparison: Comparison) -> list[str]:
    missing = [measure for measure in ENDPOINTS if measure not in comparison.measures]
    said = [f"Not measured here, so nothing is said about it: {', '.join(missing)}."] if missing else []
    return said + unmeasured.sentences(comparison.records)


def _fitted(comparison: Comparison) -> list[str]:
    values = comparison.values(comparison.arms[0], "random_label_accuracy")
    mean = sum(values.values()) / len(values) if values else 1.0
    if mean >= FITTED:
        return []
    return [
        f"The baseline fits only {mean:.0%} of its random labels, below {FITTED:.0%}: give that condition more epochs"
        " before reading the memorization numbers."
    ]


def _front(comparison: Comparison) -> list[str]:
    front = comparison.pareto
    if len(comparison.arms) < 3 or not front:
        return []
    return [f"Pareto front of mean clean and robust accuracy, arms with a red flag left out: {', '.join(front)}."]


def _fgsm(comparison: Comparison) -> list[str]:
    said = []
    for arm in comparison.arms[1:]:
        weak, strong = (comparison.differences[arm].get(name) for name in ("fgsm_accuracy", "robust_accuracy"))
        if weak and strong and weak["difference"] - strong["difference"] > FLATTERED:
            said.append(
                f"{arm} {_points(weak['difference'])} where the worst case says {_points(strong['difference'])}"
            )
    return [f"FGSM alone would have said: {'; '.join(said)}."] if said else []


def _lost(comparison: Comparison) -> list[str]:
    said = []
    for arm in comparison.arms:
        for flag in comparison.trust[arm]:
            if flag["level"] == "red":
                said.append(f"Do not trust {arm} without a look: {flag['says'].rstrip('.')}.")
    return said


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _range(values: list[float]) -> str:
    low, high = 100 * min(values), 100 * max(values)
    return f"{low:.1f}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f}"
