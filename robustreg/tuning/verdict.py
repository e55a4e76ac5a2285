"""What a search says, in sentences of fixed words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..study import BASELINE
from ..study.protocol import PROTOCOLS
from ..study.verdict import WORDS, too_few
from .result import Tuning
from .trial import CRITERIA

if TYPE_CHECKING:
    from .result import Final

SAID = {"clean": "clean accuracy", "robust": "robust accuracy"}


def sentences(tuning: Tuning) -> list[str]:
    """Return how it was searched, both selections against the equally tuned baseline, what tuning gained over the
    defaults, the selection bias, the cost, what was lost, and how often test images were used."""
    said = [_how(tuning)]
    for by in CRITERIA:
        for what in CRITERIA:
            said += _against(tuning, by, what)
    said += [*_differ(tuning), *_gain(tuning), *_bias(tuning), *_luck(tuning), *_cost(tuning), *_lost(tuning)]
    return [*said, *_red(tuning), _used(tuning)]


def _how(tuning: Tuning) -> str:
    study = tuning.study
    most = max(len(trials) for trials in tuning.trials.values())
    fewest = min(len(trials) for trials in tuning.trials.values())
    draws = f"{most}" if most == fewest else f"{fewest} to {most}"
    led = f", led by validation {SAID[study['guide']]}" if study["guide"] else ""
    seeds = len(study["seeds"])
    sure = "" if PROTOCOLS[study["protocol"]].p_values else " Preliminary: no p-values."
    few = too_few(seeds, len(tuning.arms) - 1) if not sure else ""
    return (
        f"{draws} draws of every arm and of the baseline none ({study['sampler']} sampler{led}), each looked at on"
        f" {study['val_images']} validation images; what was selected was trained anew on {seeds}"
        f" seed{'s' * (seeds > 1)} and measured on {study['test_images']} test images of the same split, which no trial"
        f" saw. Intervals are over seeds, not over splits.{sure} {few}".strip()
    )


def _against(tuning: Tuning, by: str, what: str) -> list[str]:
    study, by_word = tuning.study, {word: list[str]() for word in WORDS}
    for arm in tuning.arms[1:]:
        found = tuning.differences.get((arm, by), {}).get(what)
        if found is not None:
            text = f"{arm} {_points(found['difference'])}"
            if found["low"] is not None:
                text += f" [{_points(found['low'])}, {_points(found['high'])}]"
            elif found["n"] > 1:
                text += " (the same on every seed)"
            if found["p_adjusted"] is not None:
                text += f" p={found['p_adjusted']:.2g}"
            by_word[found["word"]].append(text)
    parts = [f"{word}: {', '.join(arms)}" for word, arms in by_word.items() if arms]
    if not parts:
        return []
    at = f" at eps {study['headline_eps']:g} ({study['norm']}), empirical," if what == "robust" else ""
    where = f"on {study['data']} with {study['model']}{at}"
    return [
        f"Selected by validation {SAID[by]}, {SAID[what]} {where} in points against the equally tuned none:"
        f" {'; '.join(parts)}."
    ]


def _differ(tuning: Tuning) -> list[str]:
    found = [arm for arm in tuning.arms if len({f.spec + f.model for f in _selected(tuning, arm)}) > 1]
    if not found:
        return ["Both criteria selected the same configuration of every arm."]
    return [f"The two criteria selected different configurations of {', '.join(found)}: tune for what you will report."]


def _gain(tuning: Tuning) -> list[str]:
    said = []
    for arm in tuning.arms:
        default = tuning.final(arm, "default")
        gains = [_gained(tuning.final(arm, by), default, by) for by in CRITERIA]
        if all(gain is not None for gain in gains):
            said.append(f"{arm} {' / '.join(_points(gain) for gain in gains if gain is not None)}")
    if not said:
        return []
    return [f"Tuning gained over the declared defaults, clean / robust accuracy on test images: {', '.join(said)}."]


def _gained(final: Final | None, default: Final | None, what: str) -> float | None:
    tested = [None if one is None else one.test(what) for one in (final, default)]
    return None if tested[0] is None or tested[1] is None else tested[0].mean - tested[1].mean


def _bias(tuning: Tuning) -> list[str]:
    said = []
    for by in CRITERIA:
        found = [(final.bias, final.arm) for final in tuning.finals if final.by == by and final.bias is not None]
        if found:
            mean = sum(bias for bias, _ in found) / len(found)
            worst, arm = max(found)
            chance = 100 * _chance(tuning, by)
            span = f"{_points(mean)} on average, at most {_points(worst)} ({arm})"
            said.append(f"{by} {span}, give or take {chance:.1f}")
    if not said:
        return []
    return [
        "Selection bias, the best validation accuracy minus what its configuration has on test images:"
        f" {'; '.join(said)} for which images are in which split. The best of many draws is partly luck: never report"
        " the validation accuracy that selected."
    ]


def _chance(tuning: Tuning, by: str) -> float:
    """How far validation and test accuracy of one model differ by which images are in the two splits, in 19 of 20."""
    tested = [found.mean for final in tuning.finals if final.by == by and (found := final.test(by)) is not None]
    rate = sum(tested) / len(tested)
    return 1.96 * math.sqrt(rate * (1 - rate) * (1 / tuning.study["val_images"] + 1 / tuning.study["test_images"]))


def _luck(tuning: Tuning) -> list[str]:
    curve = tuning.curves[BASELINE]
    if len(curve["clean"]) < 2:
        return []
    gained = " / ".join(_points(curve[by][-1] - curve[by][0]) for by in CRITERIA)
    return [
        f"The best of {len(curve['clean'])} draws of none alone is {gained} points (clean / robust) above an average"
        " draw: an arm that is tuned against a baseline that is not gains as much from the search itself."
    ]


def _cost(tuning: Tuning) -> list[str]:
    dear = [
        f"{arm} costs {each.cost:.1f} x the passes of none, whose budget pays for {each.affordable} of its draws"
        for arm, each in tuning.compute.items()
        if each.cost is not None and each.affordable < each.draws
    ]
    return [f"At equal compute: {'; '.join(dear)}."] if dear else []


def _lost(tuning: Tuning) -> list[str]:
    said = []
    for arm, trials in tuning.trials.items():
        counts = {s: sum(trial.status == s for trial in trials) for s in ("collapsed", "diverged", "failed")}
        if any(counts.values()):
            words = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
            said.append(f"{arm} {words} of {len(trials)}")
    if not said:
        return []
    return [
        f"Draws without a usable model: {'; '.join(said)}. They count in the budget and in the curves, with accuracy 0"
        " where they diverged or failed."
    ]


def _red(tuning: Tuning) -> list[str]:
    found: dict[str, str] = {}
    for final in tuning.finals:
        for says in final.red.values():
            found.setdefault(f"{final.arm} ({final.by})", says)
    return [f"Do not trust {name} without a look: {says.rstrip('.')}." for name, says in found.items()]


def _used(tuning: Tuning) -> str:
    uses = {(final.spec, final.model): (final.used, final) for final in tuning.finals}
    again = [f"{final.spec} {used} times" for used, final in uses.values() if used > 1]
    said = f"The test images were used for {len(uses)} configurations"
    return f"{said}, once each." if not again else f"{said}: {', '.join(again)}, the others once."


def _selected(tuning: Tuning, arm: str) -> list[Final]:
    return [final for by in CRITERIA if (final := tuning.final(arm, by)) is not None]


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
