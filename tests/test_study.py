"""Studies on small data: the same numbers twice, nothing lost, nothing dropped, nothing done again."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import robustreg as rr
from robustreg.errors import DataError, PluginError, StoreError, UsageError
from robustreg.study import Comparison, Progress, Record, Store, make_plan
from robustreg.study.conditions import LabelCondition

SMALL = {"data": "digits:train=120,val=40,test=60", "seeds": 2, "epochs": 3, "model": "mlp:hidden=16"}
QUICK_RANDOM = {"label_noise": [0.5]}


def small(arms=("none", "l2:1e-3"), **changes):
    return rr.compare(arms, **{**SMALL, **QUICK_RANDOM, **changes})


def hashes(comparison: Comparison) -> dict[tuple[str, int, str], str]:
    return {(r.arm, r.seed, r.label_condition): r.model_sha256 for r in comparison.records}


class Boom(rr.Regularizer):
    """Fails in its hook."""

    name = "boom"

    @rr.hookimpl
    def penalty(self):
        raise ArithmeticError("no")


def test_the_same_study_twice_gives_the_same_bytes(tmp_path):
    first, second = (small(["dropout:0.5", "mixup", "shift"], out=tmp_path / name) for name in "ab")
    assert hashes(first) == hashes(second)
    assert all(hashes(first).values()) and len(set(hashes(first).values())) == len(first.records)
    for a, b in zip(first.records, second.records, strict=True):
        for name in a.measures.keys() - {"training_seconds", "trust_seconds"}:
            assert a.measures[name] == b.measures[name], name


def test_a_finished_run_is_not_done_again(tmp_path):
    seen: list[Progress] = []
    small(out=tmp_path, seeds=1)
    before = finished(tmp_path)
    small(["none", "l2:1e-3", "l1:1e-4"], out=tmp_path, seeds=2, on_progress=seen.append)
    assert seen[0].reused == seen[-1].reused == 4  # two arms under two label conditions on seed 0
    after = finished(tmp_path)
    assert len(before) == 4 and len(after) == 12 and {key: after[key] for key in before} == before


def test_another_epoch_count_or_eps_is_another_run(tmp_path):
    for changes in (
        {},
        {"epochs": 4},
        {"eps": [0.1]},
        {"data": "digits:train=121,val=40,test=60"},
        {"learning_rate": 0.1},
    ):
        seen: list[Progress] = []
        small(out=tmp_path, on_progress=seen.append, **changes)
        assert seen[-1].reused == 0


def test_seeds_share_split_and_initial_weights_between_arms(tmp_path):
    comparison = small(["dropout:0.5"])
    for seed in (0, 1):
        runs = [record for record in comparison.records if record.seed == seed]
        assert len({record.split_hash for record in runs}) == 1
        assert len({json.dumps(record.details["initial_norms"]) for record in runs}) == 1
    assert len({record.split_hash for record in comparison.records}) == 2


def test_runs_on_different_splits_are_not_compared():
    comparison = small()
    comparison.records[0].split_hash = "other"
    with pytest.raises(UsageError, match="different splits"):
        Comparison(comparison.study, comparison.arms, comparison.measures, comparison.records)


def test_a_diverged_run_is_a_row_and_the_study_goes_on():
    comparison = small(["l2:1e6"])
    lost = comparison.of("l2:1000000")
    assert {record.status for record in lost} == {"diverged"}
    assert all("epoch" in record.reason for record in lost)
    assert {record.status for record in comparison.of("none")} == {"ok"}
    flags = {flag["flag"]: flag["level"] for flag in comparison.trust["l2:1000000"]}
    assert flags["diverged"] == "red"
    assert any("l2:1000000" in sentence for sentence in comparison.verdict())
    assert comparison.differences["l2:1000000"] == {}
    assert "l2:1000000" in str(comparison)


def test_a_plugin_that_raises_fails_its_runs_only(tmp_path):
    comparison = rr.compare(["none", Boom()], **SMALL, **QUICK_RANDOM, out=tmp_path)
    lost = comparison.of("boom:1.0") or comparison.of("boom:1")
    assert {record.status for record in lost} == {"failed"}
    assert (
        "regularizer 'boom'" in lost[0].reason and "penalty" in lost[0].reason and "ArithmeticError" in lost[0].reason
    )
    assert {record.status for record in comparison.of("none")} == {"ok"}
    again: list[Progress] = []
    rr.compare(["none", Boom()], **SMALL, **QUICK_RANDOM, out=tmp_path, on_progress=again.append)
    assert again[-1].reused == 4  # failed runs are tried again, the others are not


def test_a_red_flag_blocks_the_word_better():
    comparison = small()
    arm = comparison.arms[1]
    for record in comparison.of("none"):
        record.measures["robust_accuracy"] = 0.1 + 0.01 * record.seed
    for record in comparison.of(arm):
        record.measures["robust_accuracy"] = 0.8 + 0.0101 * record.seed
    plain = Comparison(comparison.study, comparison.arms, comparison.measures, comparison.records)
    assert plain.differences[arm]["robust_accuracy"]["word"] == "better"
    comparison.of(arm)[0].trust = [{"flag": "zero_gradients", "level": "red", "value": 0.9, "says": "no gradients"}]
    flagged = Comparison(comparison.study, comparison.arms, comparison.measures, comparison.records)
    assert flagged.differences[arm]["robust_accuracy"]["word"] == "cannot tell"


def test_quick_has_no_p_values_and_standard_has_them():
    quick = small(seeds=2)
    assert all(d["p"] is None for d in quick.differences["l2:0.001"].values())
    assert "preliminary" in quick.verdict()[0]
    standard = small(protocol="standard", seeds=6)
    found = standard.differences["l2:0.001"]["clean_accuracy"]
    assert 2 / 2**6 <= found["p"] <= found["p_adjusted"] <= 1
    assert "preliminary" not in standard.verdict()[0]


def test_differences_are_those_of_the_runs():
    comparison = small()
    by_seed = {
        arm: {r.seed: r.measures["clean_accuracy"] for r in comparison.of(arm) if r.label_condition == "true"}
        for arm in comparison.arms
    }
    expected = sum(by_seed["l2:0.001"][seed] - by_seed["none"][seed] for seed in (0, 1)) / 2
    assert comparison.differences["l2:0.001"]["clean_accuracy"]["difference"] == pytest.approx(expected)
    assert comparison.summaries["none"]["clean_accuracy"]["mean"] == pytest.approx(sum(by_seed["none"].values()) / 2)


def test_instances_specs_and_grids_are_arms():
    arms = ["l1:1e-4,1e-3", rr.regularizers.Dropout(0.25), [rr.regularizers.L2(1e-3), rr.regularizers.Cosine()]]
    comparison = small(arms, seeds=1, epochs=1)
    assert comparison.arms == ["none", "l1:0.0001", "l1:0.001", "dropout:0.25", "l2:0.001+cosine:1"]


def test_a_model_can_be_a_function_a_network_or_a_path(tmp_path, monkeypatch):
    (tmp_path / "mymodels.py").write_text(
        "from torch import nn\n"
        "def net(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
        "def fixed():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "def wrong():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))\n"
    )
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for model in ("mymodels:net", "mymodels:fixed", lambda shape, classes: network, network):
        assert small(["none"], model=model, seeds=1, epochs=1).records[0].status == "ok"
    with pytest.raises(UsageError, match=r"logits \(batch, 10\)"):
        small(model="mymodels:wrong")
    with pytest.raises(UsageError, match="no attribute 'nope'"):
        small(model="mymodels:nope")
    with pytest.raises(UsageError, match="Did you mean 'mlp'"):
        small(model="mlpp")


def test_label_conditions_are_named_and_sized():
    plan = make_plan(["none"], catalogue=rr.plugins.discover(), data=SMALL["data"], label_noise=[0.4, 1.0])
    assert [str(condition) for condition in plan.conditions] == ["true", "random:0.4", "random:1.0"]
    assert str(LabelCondition(0.3, "pair_flip")) == "pair_flip:0.3"
    for rate in (-0.1, 1.1):
        with pytest.raises(UsageError, match="share in"):
            LabelCondition(rate)


def test_a_damaged_or_newer_store_says_so(tmp_path):
    (tmp_path / "study.db").write_bytes(b"not a database, but long enough to look at" * 40)
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path)
    newer = tmp_path / "newer"
    Store(newer).close()
    with sqlite3.connect(newer / "study.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer"):
        Store(newer)


def test_a_record_survives_the_store(tmp_path):
    record = Record("id", "none", 0, "true", measures={"a": 0.1, "b": {"0.0": 1.0}}, history=[{"loss": float("nan")}])
    with Store(tmp_path) as store:
        store.put(record, b"model")
        kept = store.get("id")
        assert kept is not None and kept.measures == record.measures and kept.model_sha256 == record.model_sha256
        assert store.model_path("id").read_bytes() == b"model"
        assert store.get("other") is None


def test_a_model_file_is_checked_when_read(tmp_path):
    from robustreg import checkpoint

    weights = {"w": torch.arange(6.0).reshape(2, 3)}
    path = tmp_path / "model.safetensors"
    path.write_bytes(checkpoint.to_bytes(weights, {"model": "mlp", "classes": 2}))
    found, manifest = checkpoint.read(path)
    assert torch.equal(found["w"], weights["w"]) and manifest == {"model": "mlp", "classes": 2}
    with pytest.raises(DataError, match="changed since"):
        checkpoint.read(path, sha256="0" * 64)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="not a safetensors file"):
        checkpoint.read(path)
    with pytest.raises(DataError, match="No such file"):
        checkpoint.read(tmp_path / "absent")


def test_a_model_file_never_names_code_to_import(tmp_path):
    from robustreg import checkpoint

    path = tmp_path / "model.safetensors"
    path.write_bytes(
        checkpoint.to_bytes({"w": torch.zeros(1)}, {"model": "os:getcwd", "shape": [1, 8, 8], "classes": 2})
    )
    with pytest.raises(UsageError, match="say --model os:getcwd"):
        checkpoint.restore(path, rr.plugins.discover())


def test_kept_weights_are_those_of_the_run(tmp_path):
    from robustreg import checkpoint

    comparison = small(["none"], out=tmp_path, seeds=1)
    record = comparison.of("none")[0]
    network = checkpoint.restore(Store(tmp_path).model_path(record.id), rr.plugins.discover())
    splits = rr.load_data(SMALL["data"], seed=0)
    assert rr.evaluate(network, splits)["clean_accuracy"] == record.measures["clean_accuracy"]


def test_a_measure_that_fails_names_its_plugin_and_takes_no_run_with_it():
    catalogue = rr.plugins.discover()

    def broken(subject):
        raise ZeroDivisionError("oops")

    catalogue.add("measures", rr.plugins.Origin("mine", "dist", "1"), rr.measures.Measure("mine", broken, None, "x"))
    comparison = small(["none"], catalogue=catalogue, seeds=1)
    for record in comparison.records:
        assert record.status == "ok"
        assert "frobenius_norm" in record.measures and "mine" not in record.measures
    said = "measure 'mine' failed: ZeroDivisionError: oops (from dist 1)"
    assert said in comparison.verdict()[-1]
    flag = comparison.trust["none"][-1]
    assert (flag["flag"], flag["level"], flag["value"]) == ("mine_failed", "amber", len(comparison.records))
    assert said in flag["says"] and "mine" not in comparison.summaries["none"]


STUDY = """
import sys, robustreg as rr
rr.compare(["none", "dropout:0.5", "l2:1e-3"], data="digits:train=300,val=40,test=60", seeds=3, epochs=12,
           model="mlp:hidden=32", label_noise=[0.5], out=sys.argv[1])
"""


def finished(folder: Path) -> dict[str, float]:
    try:
        with sqlite3.connect(f"file:{folder / 'study.db'}?mode=ro", uri=True) as db:
            return dict(db.execute("SELECT id, finished FROM runs").fetchall())
    except sqlite3.OperationalError:
        return {}


@pytest.mark.slow
def test_killed_in_the_middle_it_finishes_only_what_was_missing(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([sys.executable, "-c", STUDY, whole], check=True)
    process = subprocess.Popen([sys.executable, "-c", STUDY, cut])
    while len(finished(cut)) < 5:
        assert process.poll() is None, "the study was over before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = finished(cut)
    assert 5 <= len(before) < 18
    subprocess.run([sys.executable, "-c", STUDY, cut], check=True)
    after = finished(cut)
    assert len(after) == 18 and {key: after[key] for key in before} == before
    assert set(after) == set(finished(whole))
    names = sorted(path.name for path in (cut / "models").iterdir())
    assert names == sorted(path.name for path in (whole / "models").iterdir())
    assert all((cut / "models" / name).read_bytes() == (whole / "models" / name).read_bytes() for name in names)


FULL = """
import resource, sys
from robustreg.cli.main import run
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
sys.exit(run(["compare", "none", "--data", "digits:train=60,val=20,test=20", "--seeds", "1", "--epochs", "1",
              "--label-noise", "0", "--no-figures", "--out", sys.argv[1]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 100, 5_000, 40_000])
def test_a_full_disk_is_exit_code_6_and_leaves_nothing_half_written(tmp_path, limit):
    folder = tmp_path / "study"
    done = subprocess.run([sys.executable, "-c", FULL, folder, str(limit)], capture_output=True, text=True)
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr and "no room" in done.stderr
    assert not list(folder.glob("**/*.partial"))
    for model in folder.glob("models/*.safetensors"):
        assert rr.checkpoint.read(model)
    again = subprocess.run([sys.executable, "-c", FULL, folder, str(10**9)], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr


MEMORY = """
import resource, torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
import robustreg as rr
from robustreg.report import write_report
import sys
write_report(rr.compare(seeds=1, epochs=5, out=sys.argv[1]), sys.argv[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_the_default_arms_take_less_than_a_gigabyte_above_torch(tmp_path):
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1024


def test_plugin_errors_of_a_single_training_are_raised():
    splits = rr.load_data(SMALL["data"], seed=0)
    with pytest.raises(PluginError, match="boom"):
        rr.train(rr.models.mlp((1, 8, 8), 10), [Boom()], splits, epochs=1)


def test_an_arm_that_lost_its_true_label_runs_is_not_judged_by_its_noisy_ones():
    comparison = small()
    for record in comparison.of("l2:0.001"):
        if record.label_condition == "true":
            record.status, record.measures = "failed", {}
    found = Comparison(comparison.study, comparison.arms, comparison.measures, comparison.records)
    assert found.values("l2:0.001", "clean_accuracy") == {}
    assert "clean_accuracy" not in found.differences["l2:0.001"]
    assert "clean_accuracy[random:0.5]" in found.summaries["l2:0.001"]


def test_a_damaged_model_file_is_trained_again(tmp_path):
    first = small(out=tmp_path)
    paths = sorted((tmp_path / "models").iterdir())
    paths[0].unlink()
    content = bytearray(paths[1].read_bytes())
    content[-1] ^= 1
    paths[1].write_bytes(content)
    seen: list[Progress] = []
    again = small(out=tmp_path, on_progress=seen.append)
    assert seen[-1].reused == len(first.records) - 2
    assert hashes(again) == hashes(first) and len(list((tmp_path / "models").iterdir())) == len(paths)


@pytest.mark.parametrize(
    ("arms", "changes", "says"),
    [
        ([rr.regularizers.Dropout], {}, "make one: Dropout()"),
        ([5], {}, "a spec, a regularizer or a list"),
        ([("dropout:0.5", "l1")], {}, "a spec, a regularizer or a list"),
        (["none"], {"data": rr.load_data("digits")}, "data must be"),
        (["none"], {"seeds": 2.5}, "seeds must be"),
        (["none"], {"seeds": 10**9}, "at most 10,000"),
        (["none"], {"eps": "0,1/16"}, "eps must be"),
        (["none"], {"label_noise": "0,0.4"}, "label_noise must be"),
        (["none"], {"nonsense": 3}, "nonsense"),
        (["none"], {"headline_eps": -1.0}, "pixel units"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_trained(arms, changes, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        small(arms, **changes)


def test_one_arm_or_one_number_needs_no_list():
    comparison = rr.compare("l2:1e-3", **SMALL, label_noise=0.5)
    assert comparison.arms == ["none", "l2:0.001"] and comparison.study["label_conditions"] == ["true", "random:0.5"]


def test_a_misspelt_hook_is_an_error_before_anything_is_trained():
    class Typo(rr.Regularizer):
        name = "typo"

        @rr.hookimpl
        def penality(self):
            return None

    with pytest.raises(PluginError, match="penality"):
        small([Typo()])


def test_leaving_the_program_from_a_hook_fails_that_run_only():
    class Leaves(rr.Regularizer):
        name = "leaves"

        @rr.hookimpl
        def batch(self, x, y):
            raise SystemExit(9)

    comparison = small(["none", Leaves()], seeds=1)
    assert [record.status for record in comparison.records] == ["ok", "failed", "ok", "failed"]


def test_a_network_that_starts_every_seed_is_noted():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert any("every seed starts from its weights" in note for note in small(model=network).study["notes"])


def test_runs_and_splits_show_themselves_briefly():
    splits = rr.load_data(SMALL["data"])
    run = rr.train(rr.models.mlp((1, 8, 8), 10), [], splits, epochs=1)
    assert len(repr(run)) < 500 and len(repr(splits.train)) < 100
    for wrong in ({"model": "x"}, {"regularizers": None}, {"regularizers": "l1"}, {"splits": "digits"}):
        given = {"model": run.model, "regularizers": [], "splits": splits} | wrong
        with pytest.raises(UsageError, match=next(iter(wrong))):
            rr.train(given["model"], given["regularizers"], given["splits"])


def made(values: dict[str, list[float]], *, protocol: str, measure: str = "robust_accuracy", images: int = 500):
    """A comparison of synthetic runs: one value a seed."""
    seeds = list(range(len(values["none"])))
    records = [
        Record(f"{arm}{seed}", arm, seed, "true", measures={measure: found[seed]})
        for arm, found in values.items()
        for seed in seeds
    ]
    study = {
        "data": "digits", "model": "mlp", "seeds": seeds, "protocol": protocol, "label_conditions": ["true"],
        "test_images": images, "attacks": ["pgd"], "headline_eps": 0.1, "norm": "linf",
    }  # fmt: skip
    return Comparison(study, list(values), {measure: True}, records)


def test_the_same_difference_on_three_seeds_is_no_certainty():
    found = made({"none": [0.5, 0.6, 0.7], "a": [0.5, 0.6, 0.7], "b": [0.6, 0.7, 0.8]}, protocol="quick")
    assert {found.differences[arm]["robust_accuracy"]["word"] for arm in "ab"} == {"cannot tell"}


def test_a_margin_finer_than_one_image_is_not_resolved():
    values = {"none": [0.5, 0.6, 0.7, 0.55] * 3, "a": [0.501, 0.6, 0.699, 0.55] * 3}
    words = {
        images: made(values, protocol="standard", images=images).differences["a"]["robust_accuracy"]["word"]
        for images in (20, 500)
    }
    assert words == {20: "cannot tell", 500: "equivalent"}


def test_too_few_seeds_for_the_number_of_arms_are_said_and_claim_no_power():
    values = {"none": [0.1, 0.2, 0.15, 0.11, 0.17, 0.13]} | {
        arm: [0.8 + 0.01 * i * (i + n) for i in range(6)] for n, arm in enumerate("abc")
    }
    found = made(values, protocol="standard")
    assert "10 seeds" not in found.verdict()[0] and "7 seeds are needed" in found.verdict()[0]
    assert all(found.differences[arm]["robust_accuracy"]["detectable"] is None for arm in "abc")
    one = made({arm: values[arm] for arm in ("none", "a")}, protocol="standard")
    assert one.differences["a"]["robust_accuracy"]["word"] == "better" and "needed" not in one.verdict()[0]


def test_fgsm_never_judges():
    values = {"none": [0.1 + 0.01 * i for i in range(10)], "a": [0.8 + 0.011 * i for i in range(10)]}
    found = made(values, protocol="standard", measure="fgsm_accuracy").differences["a"]["fgsm_accuracy"]
    assert found["word"] == "cannot tell" and found["p_adjusted"] < 0.05 and not found["endpoint"]


def test_a_measure_installed_later_sees_every_run(tmp_path):
    small(out=tmp_path, seeds=1)
    catalogue = rr.plugins.discover()
    measure = rr.measures.Measure("constant_one", lambda subject: 1.0, True, "One.")
    catalogue.add("measures", rr.plugins.Origin("mine", "dist", "1"), measure)
    seen: list[Progress] = []
    again = small(out=tmp_path, seeds=1, catalogue=catalogue, on_progress=seen.append)
    assert seen[-1].reused == 0
    assert all(record.measures["constant_one"] == 1.0 for record in again.records)


def test_only_what_a_dead_process_left_half_written_is_removed(tmp_path):
    Store(tmp_path).close()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine, theirs, odd = (tmp_path / "models" / f"id.safetensors.{pid}.partial" for pid in (os.getpid(), dead.pid, "x"))
    for path in (mine, theirs, odd):
        path.touch()
    Store(tmp_path).close()
    assert mine.exists() and not theirs.exists() and not odd.exists()
