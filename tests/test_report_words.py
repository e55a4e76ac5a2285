"""What reports say is so: no certainty from seeds that happen to agree, which attacks judged, how much is there yet."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

import robustreg as rr
from robustreg.report import FIGURES, cards_text, table_text
from robustreg.study import make_plan
from robustreg.study.comparison import Comparison
from robustreg.study.differences import against_baseline, one_difference
from robustreg.study.folder import NAME
from robustreg.study.rebuild import rebuild
from robustreg.study.record import Record
from robustreg.study.request import study_file
from robustreg.study.store import Store

MEASURES = {"clean_accuracy": True, "robust_accuracy": True, "robust_curve": True}
ABOUT = {
    "data": "digits", "model": "mlp", "parameters": 10, "label_conditions": ["true"], "eps": [0.0, 0.1, 0.2],
    "headline_eps": 0.1, "norm": "linf", "protocol": "quick", "attacks": ["pgd", "pgd_margin"],
}  # fmt: skip


def made(arm, none, measures=MEASURES, curves=None, **about):
    """A study of one arm beside none, of whose runs clean and robust accuracy are given seed by seed."""
    records = []
    for name, values in (("none", none), ("a", arm)):
        for seed, value in enumerate(values):
            found = {"clean_accuracy": value, "robust_accuracy": value / 2}
            found["robust_curve"] = curves[name][seed] if curves else {}
            records.append(Record(f"{name}{seed}", name, seed, "true", measures=found))
    return Comparison({**ABOUT, "seeds": list(range(len(none))), **about}, ["none", "a"], measures, records)


def flat(text):
    return " ".join(text.split())


# one difference on every seed


def test_one_difference_on_every_seed_is_known_but_for_rounding():
    base = np.array([0.8, 0.7, 0.3])
    assert one_difference(base + 0.1, base)  # 0.1 as floats have it: the three differ in their last bits
    assert len(set(base + 0.1 - base)) > 1
    assert not one_difference(base + np.array([0.1, 0.1, 0.1 + 1e-9]), base)
    assert not one_difference([1e-9, 2e-9], [0.0, 0.0])  # small measures are no rounding
    assert one_difference([0.0, 0.0], [0.0, 0.0])
    assert not one_difference([0.9], [0.8]) and not one_difference([], [])


@pytest.mark.parametrize("tested", [False, True])
@pytest.mark.parametrize("change", [-0.1, 0.0])
def test_seeds_that_agree_leave_no_interval_without_width_and_nothing_that_could_have_been_seen(change, tested):
    base = [0.8, 0.7, 0.65, 0.9, 0.6, 0.75, 0.5]
    pairs = {"same": ([one + change for one in base], base), "other": ([0.8 * one for one in base], base)}
    found = against_baseline(
        "clean_accuracy", pairs, higher=True, tested=tested, step=0.001, blocked=dict.fromkeys(pairs, False)
    )
    same, other = found["same"], found["other"]
    assert same["difference"] == pytest.approx(change) and same["n"] == 7
    assert same["low"] is same["high"] is same["detectable"] is None
    assert other["low"] < other["difference"] < other["high"] and other["detectable"] > 0


def test_so_few_seeds_that_agree_prove_no_equivalence_and_enough_of_them_do():
    base = np.linspace(0.5, 0.9, 10)
    for seeds, word in ((3, "cannot tell"), (5, "cannot tell"), (6, "equivalent"), (10, "equivalent")):
        pairs = {"a": (base[:seeds], base[:seeds])}
        found = against_baseline("clean_accuracy", pairs, higher=True, tested=True, step=0.001, blocked={"a": False})
        assert found["a"]["word"] == word, seeds


def test_what_is_not_known_is_said_in_words():
    study = made([0.7, 0.6, 0.5], [0.8, 0.7, 0.6])
    clean = next(sentence for sentence in study.verdict() if sentence.startswith("Clean"))
    assert clean.endswith("cannot tell: a -10.0 (the same on every seed).")
    table, card = flat(table_text(study)), flat(cards_text(study))
    assert "-10.0 (every seed)" in table and "so no interval is known" in table
    assert "-10.0 (every seed) cannot tell" in card and "could see" not in card
    for text in (table, card, " ".join(study.verdict())):
        assert "[-10.0, -10.0]" not in text and "could have seen" not in text
    assert "every seed" not in table_text(made([0.7, 0.6, 0.52], [0.8, 0.7, 0.6]))
    assert "every seed" not in table_text(made([0.7], [0.8]))
    FIGURES["differences"](study)


def test_an_eps_at_which_seeds_happen_to_agree_holds_nothing():
    curves = {"none": [{"0.1": 0.4, "0.2": 0.1}, {"0.1": 0.3, "0.2": 0.1}, {"0.1": 0.35, "0.2": 0.1}],
              "a": [{"0.1": 0.8, "0.2": 0.2}, {"0.1": 0.71, "0.2": 0.2}, {"0.1": 0.74, "0.2": 0.2}]}  # fmt: skip
    study = made([0.81, 0.7, 0.72], [0.2, 0.1, 0.15], curves=curves)
    card = study.to_dict()["arms"][1]["card"]
    assert card["robustness"]["word"] == "better" and card["holds_at"] == [0.1]


# which attacks judge


def test_the_worst_case_is_said_to_be_over_fgsm_too_wherever_it_is_said():
    study = made([0.7, 0.6, 0.51], [0.8, 0.7, 0.6])
    assert "no attack of pgd, pgd_margin or FGSM broke the image. FGSM is weak: it never judges alone." in flat(
        table_text(study)
    )
    assert "empirical, against pgd, pgd_margin and FGSM, in points" in " ".join(study.verdict())
    assert "worst of 2 attacks and FGSM" in cards_text(study)


def test_what_fgsm_alone_breaks_is_broken():
    """The fact behind the words: a study whose only attack does nothing has the robust accuracy of FGSM."""
    from robustreg.attacks import Attack

    idle = Attack("idle", lambda model, x, y, **knobs: x, "Does nothing.")
    splits = rr.load_data("digits:train=300,val=40,test=60", seed=0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model = rr.train(network, [], splits, seed=0, epochs=20).model
    found = rr.evaluate(model, splits, attacks=[idle], measures=["clean_accuracy", "robust_accuracy", "fgsm_accuracy"])
    assert found["robust_accuracy"] <= found["fgsm_accuracy"] < found["clean_accuracy"]


def test_cards_of_a_study_without_attacks_claim_none():
    study = made([0.7, 0.6, 0.51], [0.8, 0.7, 0.6], measures={"clean_accuracy": True})
    text = flat(cards_text(study))
    assert "empirical" not in text and "FGSM alone (weak) –" in text
    assert text.count("The worst case of attacks was not measured: nothing is said about robustness.") == 2
    assert "trust: not checked" in text and "0 green" not in text


def test_eps_is_said_in_the_unit_of_its_norm():
    linf = flat(table_text(made([0.7], [0.8])))
    l2 = flat(table_text(made([0.7], [0.8], norm="l2", headline_eps=5)))
    assert "eps is in pixel units, 0 to 1: 0.1 (linf)." in linf
    assert "eps is the length of the change, in pixel units: 5 (l2)." in l2 and "0 to 1" not in l2


# how much is there yet


def test_an_unfinished_study_counts_the_seeds_there_are(tmp_path):
    settings = {"data": "digits:train=60,val=20,test=20", "model": "mlp:hidden=8", "epochs": 1, "label_noise": [0.0]}
    plan = make_plan(["l2:1e-3"], catalogue=rr.plugins.discover(), seeds=3, **settings)
    runs = list(plan.runs())
    Store(tmp_path).close()
    (tmp_path / NAME).write_bytes(study_file(plan, runs, [plan.identity(run) for run in runs]).to_bytes())
    nothing, some = rebuild(tmp_path), rr.compare(["l2:1e-3"], seeds=2, **settings)
    assert nothing.verdict()[:2] == [
        "Unfinished: 6 of 6 runs are missing; what follows is said from the others, and may change.",
        "No run is finished, so there is nothing to compare yet.",
    ]
    assert "0 of 3 seeds" in flat(table_text(nothing)) and "0 seeds, preliminary" in flat(cards_text(nothing))
    assert not any("paired" in sentence for sentence in nothing.verdict())
    part = Comparison({**nothing.study, "split_hashes": {}}, some.arms, some.measures, some.records)
    assert part.verdict()[1].startswith("2 of 3 paired seeds, quick protocol")
    assert "2 of 3 seeds" in flat(table_text(part))
    whole = replace(part, study=some.study)
    assert whole.verdict()[0].startswith("2 paired seeds, quick protocol") and " 2 seeds " in flat(table_text(whole))
