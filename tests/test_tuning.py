"""Tuning: equal budgets, selection on validation alone, the test images once, and nothing lost to a crash."""

import json
import math
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import jsonschema
import numpy as np
import pytest
import torch

import robustreg as rr
from robustreg.cli.main import run
from robustreg.errors import UsageError
from robustreg.plugins import discover
from robustreg.report.page import Page
from robustreg.study import Record
from robustreg.tuning import Final, Trial, Tuning, make_search, set_aside, tables_text, tuner, write_tuning
from robustreg.tuning.search import TRIAL_SEED, without_test
from robustreg.tuning.trial import best, judged

DATA = "digits:train=120,val=60,test=80"
SMALL = {
    "data": DATA,
    "model": "mlp:hidden=16",
    "epochs": 3,
    "batch_size": 10,
    "budget": 3,
    "seeds": 2,
    "engine": "serial",
}
SPECS = ["l2:1e-5..0.1", "dropout:0..0.8"]


def small(specs=SPECS, **changes):
    return rr.tune(specs, **{**SMALL, **changes})


@pytest.fixture(scope="module")
def tuning(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    found = small(out=folder)
    found.folder = folder
    return found


def timeless(value):
    """Plain values without what a clock said."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key not in ("training_seconds", "reused")}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def without_validation():
    splits = rr.load_data(DATA, seed=0)
    return replace(splits, val=splits.val.subset(torch.arange(0)))


class Counted:
    """Images that are read one by one and counted."""

    def __init__(self, x):
        self.x, self.shape, self.reads = x, tuple(x.shape[1:]), 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.reads += 1
        return self.x[index]


def watched():
    """A function from seed to splits, and the images of their test split."""
    splits = rr.load_data(DATA, seed=0)
    images = Counted(splits.test.x)
    counted = replace(splits, test=replace(splits.test, x=images))
    return (lambda seed: counted), images


# What is tried, and on what


def test_every_arm_and_the_baseline_have_the_same_budget_and_the_same_learning_rates(tuning):
    assert tuning.arms == ["none", *SPECS[:1], "dropout:0..0.8"]
    assert [len(trials) for trials in tuning.trials.values()] == [3, 3, 3]
    rates = [[trial.values["learning_rate"] for trial in trials] for trials in tuning.trials.values()]
    assert rates[0] == rates[1] == rates[2] and len(set(rates[0])) == 3
    assert all(0.005 <= rate <= 0.2 for rate in rates[0])
    assert {final.by for final in tuning.finals if final.arm == "none"} == {"clean", "robust", "default"}


def test_no_test_image_is_looked_at_before_the_selection_and_each_as_often_after_it(monkeypatch):
    data, images = watched()
    seen = []
    monkeypatch.setattr(tuner, "best", lambda trials, by: seen.append(images.reads) or best(trials, by))
    found = small(["l2:1e-5..0.1"], data=data, budget=2, seeds=1)
    assert seen == [0] * 4  # two arms, two criteria
    assert images.reads > 0 and all(final.test("clean") for final in found.finals)


def test_the_validation_images_stand_in_the_place_of_the_test_images_and_the_runs_say_so(tuning):
    splits = rr.load_data(DATA, seed=0)
    looked_at = without_test(splits)
    assert looked_at.test is splits.val and looked_at.hash != splits.hash and looked_at.train is splits.train
    with sqlite3.connect(tuning.folder / "study.db") as db:
        records = [Record.from_json(text) for (text,) in db.execute("SELECT record FROM runs")]
    trials = {run for each in tuning.trials.values() for trial in each for run in trial.runs}
    assert {record.id for record in records if record.split_hash == looked_at.hash} == trials
    finals = {record.id for final in tuning.finals for record in final.records}
    assert {record.id for record in records if record.split_hash == splits.hash} == finals


def test_a_trial_has_the_accuracies_of_a_training_done_by_hand_on_validation_images():
    found = small(["l2:1e-5..0.1"], budget=1, seeds=1)
    splits = rr.load_data(DATA, seed=0)
    search = make_search(["l2:1e-5..0.1"], catalogue=discover(), **only(SMALL))
    for trial in (found.trials["none"][0], found.trials["l2:1e-5..0.1"][0]):
        model = search.trials([], None).model(TRIAL_SEED)
        members = [] if trial.arm == "none" else [rr.regularizers.L2(trial.values["l2"])]
        rate = rr.regularizers.LearningRate(trial.values["learning_rate"])
        done = rr.train(model, [*members, rate], splits, seed=TRIAL_SEED, epochs=3, batch_size=10)
        with torch.no_grad():
            x, y = next(splits.val.batches(None, len(splits.val)))
            assert trial.clean == pytest.approx(float((done.model(x).argmax(-1) == y).double().mean()))
        assert trial.robust <= trial.clean and trial.passes == done.gradient_passes


def only(settings):
    return {key: value for key, value in settings.items() if key != "engine"}


def test_what_is_selected_is_trained_anew_on_other_seeds_and_one_split(tuning):
    seeds = {record.seed for final in tuning.finals for record in final.records}
    assert seeds == {0, 1}
    assert len({record.split_hash for final in tuning.finals for record in final.records}) == 1
    assert all(final.used == 1 for final in tuning.finals)


@pytest.mark.parametrize("sampler", ["grid", "coordinate", "bayesian"])
def test_every_sampler_spends_the_budget_on_every_arm(sampler):
    found = small(["dropout:0..0.8"], sampler=sampler, budget=4, epochs=1, seeds=1)
    assert [len(trials) for trials in found.trials.values()] == [4, 4]
    assert found.study["guide"] == (None if sampler == "grid" else "robust")


def test_the_network_is_searched_with_the_same_draws_for_every_arm():
    found = small(["dropout:0..0.8"], model="mlp:width=4..32,depth=1..2", budget=3, seeds=1)
    models = [[trial.model for trial in trials] for trials in found.trials.values()]
    assert models[0] == models[1] and len(set(models[0])) > 1
    assert all(model.startswith("mlp:width=") for model in models[0])
    default = found.final("dropout:0..0.8", "default")
    assert default.model == "mlp" and "mlp:width=4..32" in str(found)
    chosen = found.final("none", "clean").trial.values
    assert f"width={chosen['model.width']}, depth={chosen['model.depth']}" in " ".join(str(found).split())
    assert found.final("none", "clean").model == found.final("none", "clean").trial.model


def test_several_seeds_of_a_draw_are_averaged():
    record = Record(
        "i", "a", 0, "true", measures={"clean_accuracy": 0.8, "robust_accuracy": 0.2, "gradient_passes": 5.0}
    )
    other = replace(record, id="j", measures={"clean_accuracy": 0.6, "robust_accuracy": 0.4, "gradient_passes": 7.0})
    found = judged(Trial("a", 1, {}, "a", "m"), [record, other], 0.1, 100)
    assert (found.clean, found.robust, found.passes) == pytest.approx((0.7, 0.3, 6.0))
    assert found.runs == ("i", "j") and found.status == "ok"


# What is selected


def trial(draw, clean, robust, status="ok", arm="none"):
    return Trial(arm, draw, {"learning_rate": 0.1 * draw}, f"s{draw}", "m", status, "", clean, robust, 100.0)


def test_selection_is_by_the_criterion_then_by_the_other_then_by_the_first_draw():
    trials = [trial(1, 0.9, 0.3), trial(2, 0.8, 0.5), trial(3, 0.9, 0.4), trial(4, 0.9, 0.4), trial(5, 0.7, 0.5)]
    assert best(trials, "clean").draw == 3 and best(trials, "robust").draw == 2
    lost = [trial(1, None, None, "diverged"), trial(2, 0.95, 0.95, "collapsed")]
    assert best(lost, "clean") is None and best([*lost, trial(3, 0.2, 0.1)], "clean").draw == 3


def test_a_model_that_is_no_better_than_naming_one_class_has_collapsed():
    record = Record("i", "a", 0, "true", measures={"clean_accuracy": 0.12, "robust_accuracy": 0.1})
    blank = Trial("a", 1, {}, "a", "m")
    assert judged(blank, [record], 0.1, 300).status == "collapsed"  # 0.1 + 1.96 * 0.0173 = 0.134
    assert judged(blank, [record], 0.1, 3000).status == "ok"  # 0.1 + 1.96 * 0.0055 = 0.111
    diverged = replace(record, status="diverged", reason="the loss was nan", measures={})
    found = judged(blank, [diverged], 0.1, 300)
    assert (found.status, found.reason, found.clean, found.score("clean")) == (
        "diverged",
        "the loss was nan",
        None,
        0.0,
    )


def made(trials, finals, protocol="quick"):
    study = {
        "name": "n", "data": "d", "model": "m", "seeds": [0, 1, 2], "epochs": 1, "recipe": {"learning_rate": 0.05},
        "val_images": 200, "test_images": 500, "headline_eps": 0.1, "norm": "linf", "attacks": ["pgd"], "device": "cpu",
        "protocol": protocol, "sampler": "random", "guide": None, "budget": 2, "trial_seeds": 1, "classes": ["a", "b"],
    }  # fmt: skip
    search = make_search(["l2:1e-5..0.1"], catalogue=discover(), data=DATA, model="mlp:hidden=8")
    return Tuning(study, search.spaces, dict(zip(["none", "l2:1e-5..0.1"], trials, strict=True)), finals)


def final(arm, by, of, clean, robust, used=1):
    records = [
        Record(f"{arm}{by}{seed}", "x", seed, "true", measures={"clean_accuracy": c, "robust_accuracy": r})
        for seed, (c, r) in enumerate(zip(clean, robust, strict=True))
    ]
    spec = "l2:0.01+" * (arm != "none") + f"learning_rate:0.{len(by)}"
    return Final(arm, by, spec, "m", of, records, used)


@pytest.fixture
def known():
    """A search whose every number is known."""
    arm = "l2:1e-5..0.1"
    base = [trial(1, 0.80, 0.20), trial(2, 0.90, 0.10)]
    mine = [replace(trial(1, 0.85, 0.50, arm=arm), passes=300.0), trial(2, None, None, "diverged", arm)]
    finals = [
        final("none", "clean", base[1], [0.86, 0.88, 0.90], [0.1, 0.1, 0.1]),
        final("none", "robust", base[0], [0.80, 0.80, 0.80], [0.15, 0.16, 0.17], used=2),
        final("none", "default", None, [0.7, 0.7, 0.7], [0.1, 0.1, 0.1]),
        final(arm, "clean", mine[0], [0.87, 0.88, 0.89], [0.4, 0.4, 0.4]),
        final(arm, "robust", mine[0], [0.87, 0.88, 0.89], [0.40, 0.42, 0.41]),
        final(arm, "default", None, [0.6, 0.6, 0.6], [0.3, 0.3, 0.3]),
    ]
    return made([base, [*mine]], finals)


def test_bias_is_the_validation_accuracy_that_selected_minus_the_mean_on_test_images(known):
    assert known.final("none", "clean").bias == pytest.approx(0.90 - 0.88)
    assert known.final("none", "robust").bias == pytest.approx(0.20 - 0.16)
    assert known.final("none", "default").bias is None
    assert "clean -0.5 on average, at most +2.0 (none)" in " ".join(known.verdict())  # of +2 and -3 points


def test_arms_are_compared_with_the_baseline_that_was_selected_alike(known):
    arm = "l2:1e-5..0.1"
    assert known.differences[arm, "clean"]["clean"]["difference"] == pytest.approx(0.0)
    assert known.differences[arm, "robust"]["clean"]["difference"] == pytest.approx(0.08)
    assert known.differences[arm, "robust"]["robust"]["difference"] == pytest.approx(0.25)
    assert known.differences[arm, "robust"]["robust"]["word"] == "better"
    assert known.differences[arm, "default"]["robust"]["difference"] == pytest.approx(0.2)
    assert "none +18.0 / +6.0, l2:1e-5..0.1 +28.0 / +11.0" in " ".join(known.verdict())  # over the defaults


def test_a_red_flag_blocks_the_word_better_and_is_said(known):
    flagged = known.final("l2:1e-5..0.1", "robust").records[1]
    flagged.trust.append({"flag": "zero_gradients", "level": "red", "value": 1.0, "says": "no gradients"})
    assert known.differences["l2:1e-5..0.1", "robust"]["robust"]["word"] == "cannot tell"
    assert known.differences["l2:1e-5..0.1", "robust"]["clean"]["word"] != "cannot tell"
    assert any("Do not trust l2:1e-5..0.1 (robust)" in said for said in known.verdict())


def test_the_curve_is_the_mean_of_the_best_over_all_subsets_and_lost_draws_count(tuning, known):
    for arm, trials in tuning.trials.items():
        for by in ("clean", "robust"):
            scores = [trial.score(by) for trial in trials]
            brute = [np.mean([max(few) for few in combinations(scores, n)]) for n in range(1, len(scores) + 1)]
            assert tuning.curves[arm][by] == pytest.approx(brute)
    assert known.curves["l2:1e-5..0.1"]["clean"] == pytest.approx([0.85 / 2, 0.85])


def test_at_equal_compute_a_dear_arm_has_fewer_draws(known):
    compute = known.compute["l2:1e-5..0.1"]
    assert compute.cost == pytest.approx(2.0)  # (300 + 100) / 2 against 100
    assert (compute.draws, compute.affordable) == (2, 1)
    assert compute.expected["clean"] == pytest.approx((0.85, 0.425))
    assert known.compute["none"].cost == 1.0 and known.compute["none"].affordable == 2
    assert any("At equal compute: l2:1e-5..0.1 costs 2.0 x" in said for said in known.verdict())


def test_how_often_the_test_images_were_used_and_what_was_lost_is_said(known):
    said = " ".join(known.verdict())
    assert (
        "used for 6 configurations: learning_rate:0.6 2 times, the others once." in said and "1 diverged of 2" in said
    )
    assert "Preliminary: no p-values" in said


def test_a_search_without_one_usable_model_is_told_and_not_dropped():
    lost = [trial(n, None, None, "diverged") for n in (1, 2)]
    found = made([lost, [replace(each, arm="l2:1e-5..0.1") for each in lost]], [])
    text = str(found)
    assert text.count("no draw left") == 6 or "nothing: no draw" in text
    assert "2 diverged of 2" in text and found.plot() is not None
    assert found.to_dict()["arms"][0]["selected"] == {"clean": None, "robust": None, "default": None}
    assert len(found.rows()) == 4


def test_a_learning_rate_that_diverges_is_a_row_and_exit_code_0(tmp_path, capsys):
    options = ["--data", DATA, "--model", "mlp:hidden=16", "--epochs", "2", "--batch-size", "10", "--seeds", "1"]
    options += ["--budget", "2", "--engine", "serial", "--out", str(tmp_path), "--json"]
    options += ["--learning-rates", "0.05,1000"]
    assert run(["tune", "l2:1e-5..0.1", "--sampler", "grid", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    statuses = [trial["status"] for trial in found["arms"][0]["trials"]]
    assert statuses[0] == "ok" and statuses[1] in ("diverged", "collapsed")
    assert sum(found["arms"][0]["lost"].values()) == 1


# Nothing is lost

KILLED = """
import os, signal, sys
from robustreg.study.store import Store
from robustreg.cli.main import run

left, put = int(sys.argv[1]), Store.put

def counted(self, record, model):
    global left
    put(self, record, model)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

Store.put = counted
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.slow
def test_killed_in_the_trials_and_in_the_tests_it_loses_no_run_and_ends_with_the_same_numbers(tuning, tmp_path):
    command = [
        "tune",
        *SPECS,
        "--data",
        DATA,
        "--model",
        "mlp:hidden=16",
        "--epochs",
        "3",
        "--batch-size",
        "10",
        "--budget",
        "3",
    ]
    command += ["--seeds", "2", "--engine", "serial", "--no-figures", "--out", str(tmp_path)]

    def kept():
        with sqlite3.connect(tmp_path / "study.db") as db:
            return dict(db.execute("SELECT id, finished FROM runs"))

    before = {}
    for after in (4, 8):  # of nine trials the fifth is missing; then the finals have begun
        done = subprocess.run([sys.executable, "-c", KILLED, str(after), *command], capture_output=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        found = kept()
        assert len(found) == len(before) + after and before.items() <= found.items()
        before = found
    assert run(command) == 0
    assert before.items() <= kept().items() and len(kept()) > len(before)
    whole = timeless(json.loads(json.dumps(tuning.to_dict())))
    assert timeless(json.loads((tmp_path / "tuning.json").read_text())) == whole


def test_the_bits_of_a_draw_depend_neither_on_the_engine_nor_on_what_else_is_drawn(tmp_path):
    def hashes(name, **changes):
        small(["dropout:0..0.8"], out=tmp_path / name, seeds=1, **changes)
        with sqlite3.connect(tmp_path / name / "study.db") as db:
            records = [Record.from_json(text) for (text,) in db.execute("SELECT record FROM runs")]
        return {record.arm: record.model_sha256 for record in records if record.seed == TRIAL_SEED}

    whole = hashes("whole", budget=6)
    assert len(whole) == 12 and len(set(whole.values())) == 12
    assert hashes("shared", budget=6, engine="local:workers=2") == whole
    assert hashes("part", budget=3).items() <= whole.items()


def test_started_again_nothing_is_trained_and_a_larger_budget_trains_only_what_is_new(tuning):
    seen = []
    again = small(out=tuning.folder, on_progress=seen.append)
    assert timeless(again.to_dict()) == timeless(tuning.to_dict())
    assert all(at.reused == at.total for at in seen)
    seen.clear()
    larger = small(out=tuning.folder, budget=4, on_progress=seen.append)
    assert (seen[0].reused, seen[0].total) == (9, 12)
    assert [trials[:3] for trials in larger.trials.values()] == list(tuning.trials.values())


def test_the_test_images_are_counted_by_configuration_over_all_searches_in_a_folder(tuning):
    other = small(out=tuning.folder, headline_eps=0.1)  # another look at test images, of the same defaults
    assert {final.used for final in other.finals if final.by == "default"} == {2}
    assert {final.used for final in small(out=tuning.folder, headline_eps=0.1).finals if final.by == "default"} == {2}


# What is told

NUMBER = {"type": ["number", "null"]}
INTERVAL = {"type": ["object", "null"], "required": ["mean", "sd", "low", "high", "n"]}
SELECTED = {
    "type": ["object", "null"],
    "required": ["spec", "model", "learning_rate", "draw", "val_clean", "val_robust", "test_clean", "test_robust",
                 "bias", "against_baseline", "red", "test_used", "runs"],
    "properties": {"test_clean": INTERVAL, "test_robust": INTERVAL, "bias": NUMBER, "test_used": {"type": "integer"}},
}  # fmt: skip
TRIAL = {
    "type": "object",
    "required": ["draw", "values", "spec", "model", "status", "reason", "clean", "robust", "passes", "red", "runs"],
    "properties": {"status": {"enum": ["ok", "collapsed", "diverged", "failed"]}, "clean": NUMBER, "robust": NUMBER},
}
CURVE = {"type": "object", "required": ["clean", "robust"], "additionalProperties": {"type": "array", "items": NUMBER}}
SCHEMA = {
    "type": "object",
    "required": ["tuning", "arms", "tested_configurations", "verdict"],
    "additionalProperties": False,
    "properties": {
        "tuning": {
            "type": "object",
            "required": ["data", "model", "sampler", "guide", "budget", "learning_rates", "trial_seeds", "seeds",
                         "epochs", "recipe", "headline_eps", "norm", "attacks", "protocol", "val_images", "test_images",
                         "split_hash", "versions"],
        },
        "arms": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["arm", "space", "draws", "lost", "trials", "selected", "expected_maximum", "equal_epochs",
                             "equal_compute"],
                "properties": {
                    "trials": {"type": "array", "items": TRIAL},
                    "selected": {"type": "object", "required": ["clean", "robust", "default"],
                                 "additionalProperties": SELECTED},
                    "expected_maximum": CURVE,
                },
            },
        },
        "tested_configurations": {"type": "integer"},
        "verdict": {"type": "array", "items": {"type": "string"}, "minItems": 5},
    },
}  # fmt: skip


def test_the_document_keeps_its_schema_and_says_what_the_objects_say(tuning):
    found = json.loads(json.dumps(tuning.to_dict()))
    jsonschema.validate(found, SCHEMA)
    for arm in found["arms"]:
        assert arm["draws"] == len(arm["trials"]) == found["tuning"]["budget"]
        for by in ("clean", "robust"):
            chosen = arm["selected"][by]
            values = [run["measures"][f"{by}_accuracy"] for run in chosen["runs"]]
            top = max(trial[by] for trial in arm["trials"] if trial["status"] == "ok")
            assert chosen[f"val_{by}"] == top
            assert chosen[f"test_{by}"]["mean"] == pytest.approx(np.mean(values))
            assert chosen["bias"] == pytest.approx(top - np.mean(values))


def test_everything_is_written_and_can_be_read(tuning, tmp_path):
    written = write_tuning(tuning, tmp_path)
    assert not written.problems
    names = {str(path.relative_to(tmp_path)) for path in written.paths}
    files = {"tuning.json", "trials.csv", "selections.csv", "curves.csv", "verdict.txt"}
    assert names == files | {"figures/expected_maximum.svg", "figures/expected_maximum.png"}
    rows = {name: (tmp_path / name).read_text().splitlines() for name in files}
    assert [len(rows[name]) for name in ("trials.csv", "selections.csv", "curves.csv")] == [10, 10, 10]
    assert "Selection bias" in "\n".join(rows["verdict.txt"])


def test_the_report_of_another_search_is_set_aside_and_one_that_is_covered_is_replaced(tuning, tmp_path):
    assert set_aside(tmp_path, tuning) is None
    write_tuning(tuning, tmp_path, figures=False)
    before = (tmp_path / "tuning.json").read_bytes()
    assert set_aside(tmp_path, tuning) is None
    other = replace(tuning, study={**tuning.study, "budget": tuning.study["budget"] - 1})
    assert set_aside(tmp_path, other) == tmp_path / "earlier-1"
    assert (tmp_path / "earlier-1" / "tuning.json").read_bytes() == before
    assert not (tmp_path / "tuning.json").exists()


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_and_show_every_arm_both_selections_and_the_default(tuning, width):
    text = tables_text(tuning, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "".join(text.split()).count("default") >= 3
    assert text.count("%") >= 2


def test_the_figure_ends_at_the_best_and_shows_the_test_accuracy(known):
    page = known.plot()
    assert isinstance(page, Page) and len(page.axes) == 2
    lines = {line.get_label(): line for line in page.axes[0].get_lines() if not line.get_label().startswith("_")}
    assert list(lines) == ["none", "l2:1e-5..0.1"]
    assert list(lines["none"].get_ydata()) == pytest.approx([85.0, 90.0])
    points = [line.get_ydata()[0] for line in page.axes[0].get_lines() if len(line.get_xdata()) == 1]
    assert points == pytest.approx([88.0, 88.0])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["l1:0..1"], "must begin above 0"),
        (["l1:1e-6..1e-1", "--budget", "0"], "range"),
        (["l1:1e-6..1e-1", "--sampler", "bayes"], "bayesian"),
        (["l1:1e-6..1e-1", "--learning-rates", "0"], "above 0"),
        ([], "SPEC"),
    ],
)
def test_a_bad_command_is_one_message_and_exit_code_2(arguments, says, capsys):
    assert run(["tune", *arguments, "--json"]) == 2
    streams = capsys.readouterr()
    assert says in json.loads(streams.out)["error"]["message"] and "Traceback" not in streams.err


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuner, "run_plan", interrupted)
    assert run(["tune", "l1:1e-6..1e-1", "--data", DATA, "--out", str(tmp_path)]) == 130
    assert "robustreg tune l1:1e-6..1e-1" in capsys.readouterr().err


def test_bad_settings_are_errors_before_anything_is_trained():
    for changes, says in (
        ({"guide": "clear"}, "Did you mean 'clean'"),
        ({"budget": 0}, "number of draws"),
        ({"specs": []}, "at least one spec"),
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"label_noise": [1.0]}, "true labels"),
        ({"data": lambda seed: without_validation()}, "has none"),
    ):
        with pytest.raises(UsageError, match=says):
            small(**changes)


def test_the_rate_of_the_recipe_decides_the_default_range():
    search = make_search(["l2"], catalogue=discover(), data=DATA, learning_rate=0.01)
    rate = search.spaces[0].axes[0]
    assert (rate.low, rate.high, rate.log) == (0.001, 0.04, True)
    assert math.isclose(search.plan.recipe.learning_rate, 0.01)
