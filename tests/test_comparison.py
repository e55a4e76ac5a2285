"""Comparisons of known numbers: equal arms are told apart no more often than the level; cards say what is so."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats

import robustreg as rr
from robustreg import report
from robustreg.study import Comparison, Record

ENDPOINTS = ("clean_accuracy", "memorized_fraction", "robust_accuracy")
MEASURES: dict[str, bool | None] = {
    "clean_accuracy": True,
    "memorized_fraction": False,
    "fgsm_accuracy": True,
    "robust_accuracy": True,
    "robust_curve": True,
    "gradient_passes": False,
}
GRID = (0.0, 0.0625, 0.125, 0.1875)
COSTS = ("_seconds", "_passes")
Numbers = dict[str, dict[str, Any]]  # arm, measure, one value a seed


def comparison(
    numbers: Numbers, *, seeds: int = 10, protocol: str = "standard", trust: dict[str, list[str]] | None = None
) -> Comparison:
    """A study whose measures are given; a curve is one list a seed. `trust`: levels of made-up flags by arm."""
    about = {
        "data": "digits", "model": "mlp", "parameters": 17226, "seeds": list(range(seeds)), "eps": list(GRID),
        "label_conditions": ["true", "random:1.0"], "headline_eps": 0.125, "norm": "linf", "protocol": protocol,
        "attacks": ["pgd", "pgd_margin"],
    }  # fmt: skip
    records = []
    for seed in range(seeds):
        for arm, measures in numbers.items():
            true, random = Record("a", arm, seed, "true"), Record("b", arm, seed, "random:1.0")
            true.trust = [
                {"flag": f"flag_{at}", "level": level, "value": 0.5, "says": "Look."}
                for at, level in enumerate((trust or {}).get(arm, ["green"]))
            ]
            for name, values in measures.items():
                if name == "robust_curve":
                    true.measures[name] = {repr(eps): float(v) for eps, v in zip(GRID, values[seed], strict=True)}
                else:
                    (random if name == "memorized_fraction" else true).measures[name] = float(values[seed])
            random.measures["random_label_accuracy"] = 0.99
            records += [true, random]
    return Comparison(about, list(numbers), MEASURES, records)


def equal_arms(rng: np.random.Generator, arms: int, seeds: int = 10) -> Numbers:
    """Arms that differ by chance alone, on 300 images; seeds are good or bad for all of them."""
    luck = rng.normal(scale=0.02, size=seeds)
    names = ["none", *(f"arm{i}" for i in range(1, arms))]
    levels = {"clean_accuracy": 0.9, "memorized_fraction": 0.4, "robust_accuracy": 0.3}
    return {
        arm: {name: rng.binomial(300, level + luck, size=seeds) / 300 for name, level in levels.items()}
        for arm in names
    }


# A/A: equal arms


def told_apart(found: Comparison, measure: str) -> int:
    return sum(found.differences[arm][measure]["word"] in ("better", "worse") for arm in found.arms[1:])


@pytest.mark.parametrize("arms", [2, 6])
def test_equal_arms_are_told_apart_in_at_most_one_study_of_twenty(arms: int) -> None:
    rng, studies = np.random.default_rng(arms), 200
    wrong = dict.fromkeys(ENDPOINTS, 0)
    unadjusted = 0
    for _ in range(studies):
        found = comparison(equal_arms(rng, arms))
        for measure in ENDPOINTS:
            wrong[measure] += told_apart(found, measure) > 0  # one false word among the arms spoils the study
            p = [found.differences[arm][measure]["p"] for arm in found.arms[1:]]
            unadjusted += min(p) < 0.05
    assert sum(wrong.values()) / (3 * studies) <= 0.05
    most = stats.binom.ppf(0.999, studies, 0.05)
    assert all(number <= most for number in wrong.values())
    # The studies are not blind: without Holm's correction some arm of five would look different in 1 of 5.
    assert unadjusted / (3 * studies) == pytest.approx(1 - 0.95 ** (arms - 1), abs=0.05)


def test_equal_arms_improve_on_each_other_on_half_of_the_seeds() -> None:
    rng = np.random.default_rng(7)
    found = [comparison(equal_arms(rng, 2)).differences["arm1"]["clean_accuracy"]["improves"] for _ in range(200)]
    assert np.mean([each["share"] for each in found]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([each["meaningful"] for each in found]) <= 0.05


def test_a_real_difference_is_told_in_most_studies_and_on_the_right_side() -> None:
    rng = np.random.default_rng(8)
    words = []
    for _ in range(50):
        numbers = equal_arms(rng, 4)
        numbers["arm1"]["robust_accuracy"] = numbers["arm1"]["robust_accuracy"] + 0.10
        numbers["arm2"]["memorized_fraction"] = numbers["arm2"]["memorized_fraction"] + 0.10
        found = comparison(numbers).differences
        words += [found["arm1"]["robust_accuracy"]["word"], found["arm2"]["memorized_fraction"]["word"]]
    assert words[::2].count("better") > 40 and "worse" not in words[::2]
    assert words[1::2].count("worse") > 40 and "better" not in words[1::2]


class Nothing(rr.Regularizer):
    """Adds a penalty of 0."""

    name = "nothing"

    @rr.hookimpl
    def penalty(self, logits):
        return {"nothing": 0.0 * logits.sum()}


def test_an_arm_that_changes_nothing_differs_from_the_baseline_by_exactly_nothing() -> None:
    small = {"data": "digits:train=200,val=60,test=100", "model": "mlp:hidden=32", "epochs": 4, "label_noise": [0.4]}
    found = rr.compare(["again@dropout:0", Nothing(), "l2:0.001"], seeds=2, **small)
    again, nothing, l2 = found.arms[1:]
    for arm in (again, nothing):
        for measure, against in found.differences[arm].items():
            if measure not in ("training_seconds", "gradient_passes"):
                assert against["difference"] == 0.0, measure
                assert against["low"] is against["high"] is against["detectable"] is None, measure  # and no width of 0
                assert against["improves"]["share"] == 0.5
                assert against["word"] in ("equivalent", "cannot tell")
        for mine, base in zip(found.of(arm), found.of("none"), strict=True):
            for measure, value in mine.measures.items():
                assert measure.endswith(COSTS) or value == base.measures[measure], measure
    assert found.differences[l2]["calibration_error"]["difference"] != 0  # and the comparison is not blind


# What the JSON says beyond the words


@pytest.fixture
def story() -> Comparison:
    """Mixup as FGSM likes it, dropout better on all, an arm with a red flag, and one that nothing is known of."""
    luck = (np.arange(10) - 4.5) / 1000  # twice as much of it in the baseline, so that differences vary
    ones = np.ones(10)

    def arm(clean: float, memorized: float, fgsm: float, curve: list[float], passes: float, by: int = 1) -> Any:
        curves = np.array([clean, *curve]) + by * luck[:, None]
        return {
            "clean_accuracy": curves[:, 0],
            "memorized_fraction": memorized - by * luck,
            "fgsm_accuracy": fgsm + by * luck,
            "robust_accuracy": curves[:, 2],
            "robust_curve": curves,
            "gradient_passes": passes * ones,
        }

    return comparison(
        {
            "none": arm(0.90, 0.60, 0.30, [0.60, 0.20, 0.05], 100, by=2),
            "mixup:1": arm(0.95, 0.30, 0.45, [0.65, 0.12, 0.05], 100),
            "dropout:0.5": arm(0.94, 0.08, 0.60, [0.85, 0.50, 0.051], 100),
            "pgd": arm(0.50, 0.07, 0.90, [0.50, 0.55, 0.50], 800),
        },
        trust={"mixup:1": ["green", "amber", "green"], "pgd": ["red", "amber", "green"]},
    )


def test_improves_counts_seeds_on_the_better_side(story: Comparison) -> None:
    against = story.differences["dropout:0.5"]
    for measure in ENDPOINTS:  # memorized is lower by far: better on all seeds, too
        assert against[measure]["improves"]["share"] == 1.0
        assert against[measure]["improves"]["meaningful"]
        assert against[measure]["improves"]["low"] == pytest.approx(0.025 ** (1 / 10))
    assert story.differences["mixup:1"]["robust_accuracy"]["improves"]["share"] == 0.0
    assert "improves" not in story.differences["none"]


def test_the_pareto_front_leaves_out_what_is_beaten_and_what_is_not_believed(story: Comparison) -> None:
    assert story.pareto == ["dropout:0.5", "mixup:1"]  # "none" is beaten, "pgd" has a red flag
    assert story.to_dict()["pareto"] == story.pareto
    assert sum("Pareto front" in sentence and "dropout:0.5, mixup:1" in sentence for sentence in story.verdict()) == 1


def test_a_card_says_the_same_as_the_table_and_more(story: Comparison) -> None:
    found = {arm["arm"]: arm["card"] for arm in json.loads(report.to_json(story))["arms"]}
    assert list(found) == story.arms
    for arm, card in found.items():
        for name, measure in zip(("clean", "memorization", "robustness"), ENDPOINTS, strict=True):
            against = story.differences[arm].get(measure, {})
            assert {key: card[name][key] for key in ("difference", "low", "high", "word")} == {
                key: against.get(key) for key in ("difference", "low", "high", "word")
            }
            assert card[name]["mean"] == pytest.approx(np.mean(list(story.values(arm, measure).values())))
    mixup, dropout, pgd = (found[arm] for arm in ("mixup:1", "dropout:0.5", "pgd"))
    assert (mixup["robustness"]["word"], mixup["fgsm_alone"]["word"]) == ("worse", "better")
    assert mixup["trust"] == {"green": 2, "amber": ["flag_1"], "red": []} and mixup["believable"]
    assert (dropout["clean"]["word"], dropout["memorization"]["word"], dropout["robustness"]["word"]) == ("better",) * 3
    assert pgd["trust"]["red"] == ["flag_0"] and not pgd["believable"]
    assert (pgd["robustness"]["word"], pgd["fgsm_alone"]["word"]) == ("cannot tell", "better")
    assert (mixup["cost"], pgd["cost"], found["none"]["cost"]) == (1.0, 8.0, 1.0)
    assert found["none"]["robustness"]["difference"] is None


def test_a_card_names_every_eps_at_which_its_word_holds(story: Comparison) -> None:
    cards = {arm["arm"]: arm["card"] for arm in story.to_dict()["arms"]}
    # At 3/16 dropout is .001 above the baseline on average, which its spread over seeds swallows.
    expected = []
    for index, eps in enumerate(GRID):
        arms = [[list(r.measures["robust_curve"].values())[index] for r in story.of(a) if "robust_curve" in r.measures]
                for a in ("dropout:0.5", "none")]  # fmt: skip
        low = stats.ttest_rel(*arms).confidence_interval(0.95).low
        if low > 0:
            expected.append(eps)
    assert cards["dropout:0.5"]["holds_at"] == expected == [0.0, 0.0625, 0.125]
    assert cards["mixup:1"]["holds_at"] == [0.125]  # worse there; better or the same at the others
    assert cards["pgd"]["holds_at"] == cards["none"]["holds_at"] == []


# Cards as text


def block(text: str, arm: str) -> str:
    return next(part for part in text.split("\n\n") if part.startswith(arm))


@pytest.mark.parametrize("width", [80, 120])
def test_a_card_holds_three_answers_fgsm_trust_cost_eps_data_and_model(story: Comparison, width: int) -> None:
    text = story.cards(width)
    assert max(map(len, text.splitlines())) <= width
    assert [part.split(" ")[0] for part in text.split("\n\n")] == story.arms
    lines = block(text, "mixup:1").splitlines()
    assert lines[0] == "mixup:1 against none · digits · mlp · 10 seeds"
    difference = story.differences["mixup:1"]["robust_accuracy"]
    interval = (
        f"{100 * difference['difference']:+.1f} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
    )
    (robust,) = [line for line in lines if "robust accuracy" in line]
    assert interval in robust and robust.endswith("worse")
    (fgsm,) = [line for line in lines if "FGSM alone" in line]
    assert fgsm.endswith("“better”")
    rest = " ".join(" ".join(lines[5:]).split())
    assert "trust: 2 green, 1 amber (flag 1)" in rest and "cost: 1.0 x training" in rest
    assert "eps 2/16 = 0.125 (linf), empirical, worst of 2 attacks and FGSM; worse at no other eps" in rest
    assert "RED FLAG" not in block(text, "mixup:1")
    assert "secure" not in text


def test_a_red_flag_is_marked_and_the_card_grey(story: Comparison) -> None:
    from rich.console import Console

    assert "RED FLAG" in block(story.cards(), "pgd").splitlines()[0]
    console = Console(width=80, force_terminal=True, color_system="standard", legacy_windows=False)
    with console.capture() as captured:
        report.print_cards(story, console)
    parts = captured.get().split("\n\x1b[2m")
    lines = [line for line in captured.get().splitlines() if "robust accuracy" in line]
    assert ["\x1b[2m" in line for line in lines] == [False, False, False, True], parts


def test_cannot_tell_comes_with_what_could_have_been_seen() -> None:
    rng = np.random.default_rng(9)
    found = comparison(equal_arms(rng, 2, seeds=3), seeds=3, protocol="quick")
    against = found.differences["arm1"]["clean_accuracy"]
    assert against["word"] == "cannot tell"
    text = block(found.cards(), "arm1")
    assert "3 seeds, preliminary" in text
    assert f"cannot tell, could see {100 * against['detectable']:.1f}" in " ".join(text.split())


def test_cards_of_a_study_that_lost_its_runs_say_so() -> None:
    numbers = equal_arms(np.random.default_rng(10), 2, seeds=1)
    found = comparison(numbers, seeds=1, protocol="quick")
    for record in found.of("arm1"):
        record.status, record.reason, record.measures, record.trust = "diverged", "the loss is nan", {}, []
    text = block(found.cards(), "arm1")
    assert "RED FLAG" in text and "1 red (diverged)" in text and "–" in text
    assert found.to_dict()["arms"][1]["card"]["cost"] is None
    assert math.isfinite(found.to_dict()["arms"][0]["card"]["clean"]["mean"])


def test_hostile_names_cannot_break_a_card() -> None:
    rng = np.random.default_rng(11)
    numbers = equal_arms(rng, 2, seeds=2)
    numbers["[bold red]x[/]\x1b[31m" + "y" * 100] = numbers.pop("arm1")
    text = comparison(numbers, seeds=2, protocol="quick").cards(60)
    assert "\x1b" not in text and "[bold red]x[/]" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 60 and "…" not in text


def test_the_command_prints_cards_in_place_of_the_table_and_keeps_them(tmp_path) -> None:
    code = "import sys; from robustreg.cli import main; sys.exit(main())"
    options = ["--data", "digits:train=120,val=40,test=60", "--model", "mlp:hidden=16", "--epochs", "2", "--seeds", "2",
               "--label-noise", "0", "--no-figures", "--out", str(tmp_path)]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, "compare", "l2:1e-3", "--cards", *options],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "100", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )
    assert "l2:0.001 against none · digits" in done.stdout
    assert "mean ± standard deviation" not in done.stdout  # the caption of the table
    kept = (tmp_path / "verdict.txt").read_text()
    assert "l2:0.001 against none · digits" in kept and "mean ± standard deviation" in kept
