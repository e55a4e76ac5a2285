"""The command line as a person uses it: what it prints, what it returns, and one clear message for each mistake."""

import json
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
from PIL import Image

from robustreg.cli.main import main, run

SMALL = ["--data", "digits:train=120,val=40,test=60", "--seeds", "1", "--epochs", "2", "--model", "mlp:hidden=16"]
NO_NOISE = ["--label-noise", "0"]

NUMBER = {"type": ["number", "null"]}
SCHEMA = {
    "type": "object",
    "required": ["study", "arms", "verdict"],
    "properties": {
        "study": {
            "type": "object",
            "required": ["name", "data", "model", "seeds", "epochs", "label_conditions", "eps", "headline_eps",
                         "protocol", "versions", "split_hashes"],
            "properties": {
                "seeds": {"type": "array", "items": {"type": "integer"}},
                "eps": {"type": "array", "items": {"type": "number"}},
                "versions": {"type": "object", "additionalProperties": {"type": "string"}},
                "split_hashes": {"type": "object", "additionalProperties": {"type": "string", "minLength": 64}},
            },
        },
        "verdict": {"type": "array", "items": {"type": "string"}},
        "arms": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["arm", "regularizers", "runs", "summary", "against_baseline", "trust"],
                "properties": {
                    "regularizers": {"type": "array", "items": {"type": "object", "required": ["name", "strength"]}},
                    "runs": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["seed", "label_condition", "status", "measures"],
                            "properties": {
                                "label_condition": {"type": "string", "pattern": r"^(true|[a-z_]+:[01](\.\d+)?)$"},
                                "status": {"enum": ["ok", "failed", "diverged"]},
                                "measures": {
                                    "type": "object",
                                    "additionalProperties": {
                                        "anyOf": [NUMBER, {"type": "object", "additionalProperties": NUMBER}]
                                    },
                                },
                            },
                        },
                    },
                    "summary": {
                        "type": "object",
                        "additionalProperties": {"type": "object", "required": ["mean", "sd", "low", "high", "n"]},
                    },
                    "against_baseline": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "required": ["difference", "low", "high", "p", "p_adjusted", "detectable", "word"],
                            "properties": {"word": {"enum": ["better", "worse", "equivalent", "cannot tell"]}},
                        },
                    },
                    "trust": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["flag", "level", "value", "says"],
                            "properties": {"level": {"enum": ["green", "amber", "red"]}},
                        },
                    },
                },
            },
        },
    },
}  # fmt: skip


def strict(text: str):
    """The one JSON document in `text`, with no NaN or infinity in it."""

    def refuse(constant: str):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def folder(tmp_path):
    """32x32 colour PNGs in three classes that a network can tell apart."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog", "wild")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(24):
            image = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            image[..., number] += 100
            Image.fromarray(image).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


def test_compare_on_an_image_folder_prints_json(folder, tmp_path, capsys):
    code = run(["compare", "none", "l1:1e-3", "l2:1e-3", "dropout:0.5", "--data", f"folder:{folder}", "--epochs", "3",
                "--model", "animalnet", "--seeds", "3", "--json", "--no-figures", "--out", str(tmp_path)])  # fmt: skip
    document = strict(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    assert code == 0
    assert [arm["arm"] for arm in document["arms"]] == ["none", "l1:0.001", "l2:0.001", "dropout:0.5"]
    assert document["study"]["parameters"] == 397_571
    assert all(len(arm["runs"]) == 3 * 2 for arm in document["arms"])
    assert document["study"]["eps"] == [k / 255 for k in (0, 1, 2, 4, 8, 12, 16)]
    assert strict((tmp_path / "results.json").read_text()) == document


def test_every_measure_of_the_contract_is_there(tmp_path, capsys):
    assert run(["compare", "none", *SMALL, "--json", "--no-figures", "--out", str(tmp_path)]) == 0
    runs = strict(capsys.readouterr().out)["arms"][0]["runs"]
    found = {name for one in runs for name in one["measures"]}
    assert found >= {
        "train_accuracy", "clean_accuracy", "generalization_gap", "fgsm_accuracy", "robust_accuracy", "fgsm_curve",
        "robust_curve", "robust_area", "random_label_accuracy", "memorized_fraction", "recovered_fraction",
        "frobenius_norm", "calibration_error", "training_seconds", "gradient_passes",
    }  # fmt: skip


def test_compare_ends_with_table_verdict_and_paths(tmp_path, capsys):
    assert run(["compare", "none", "dropout:0.5", *SMALL, "--out", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "FGSM" in captured.out and "(weak)" in captured.out and "dropout:0.5" in captured.out
    assert "preliminary" in captured.out and "Robust accuracy on digits" in captured.out
    written = [line for line in captured.out.splitlines() if line.startswith(str(tmp_path))]
    assert str(tmp_path / "results.json") in written and str(tmp_path / "figures" / "robust_curve.svg") in written
    assert "4 runs" in captured.err and "\x1b" not in captured.out + captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["compare", "dropuot:0.5"], 2, ["dropuot", "Did you mean 'dropout'", "^^^^^^^"]),
        (["compare", "dropout:rate=0.5"], 2, ["no knob 'rate'", "^^^^"]),
        (["compare", "dropout:1.5"], 2, ["[0, 0.99]", "1.5", "^^^"]),
        (["compare", "dropout:p=0.1,p=0.2"], 2, ["twice"]),
        (["compare", "l1:1e-3+l1:1e-4"], 2, ["l1"]),
        (["compare", "l1:"], 2, ["no value"]),
        (["compare", "l1:1e-4..1e-1"], 2, ["number of points"]),
        (["compare", "--seeds", "0"], 2, ["--seeds"]),
        (["compare", "--eps", "0,2"], 2, ["pixel units"]),
        (["compare", "--eps", "a,b"], 2, ["list of numbers"]),
        (["compare", "--label-noise", "1.5"], 2, ["share in [0, 1]"]),
        (["compare", "--protocol", "slow"], 2, ["quick"]),
        (["compare", "--learning-rate", "-1"], 2, ["learning_rate"]),
        (["compare", "--data", "digist"], 2, ["Did you mean 'digits'"]),
        (["compare", "--data", "digits:train=5000"], 3, ["5000"]),
        (["compare", "--data", "folder:absent-folder"], 3, ["absent-folder"]),
        (["compare", "--model", "mpl"], 2, ["Did you mean 'mlp'"]),
        (["compare", "--model", "mlp:hiden=3"], 2, ["hiden", "hidden"]),
        (["compare", "--model", "mlp:hidden=0"], 2, ["whole number from 1"]),
        (["compare", "--model", "nowhere.at.all:net"], 2, ["nowhere"]),
        (["compare", "--epocs", "3"], 2, ["--epochs"]),
        (["comapre"], 2, ["comapre"]),
        (["train", "l1:1e-4,1e-3"], 2, ["one run"]),
        (["evaluate", "absent.safetensors"], 3, ["absent.safetensors"]),
        (["attack", "absent.safetensors", "--attack", "pgd:step=3"], 2, ["no option 'step'", "steps"]),
        (["plugins", "info", "mixupp"], 2, ["Did you mean 'mixup'"]),
        (["data", "info", "mnits"], 2, ["mnist"]),
    ],
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_mistake_is_one_clear_message_and_its_exit_code(
    arguments, code, says, as_json, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    found = run([*arguments, *(["--json"] if as_json else [])])
    captured = capsys.readouterr()
    assert found == code, captured.err
    assert "Traceback" not in captured.err
    assert captured.err.count("Error: ") == 1
    for text in says:
        assert text in captured.err
    if as_json:
        assert strict(captured.out)["error"]["exit_code"] == code
    else:
        assert captured.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["empty class", "corrupt image", "one class", "no class"])
def test_a_folder_that_cannot_be_used_is_exit_code_3(folder, damage, capsys):
    if damage == "empty class":
        for path in (folder / "dog").iterdir():
            path.unlink()
    elif damage == "corrupt image":
        (folder / "dog" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    else:
        for name in ("dog", "wild", *(["cat"] if damage == "no class" else [])):
            for path in (folder / name).iterdir():
                path.unlink()
            (folder / name).rmdir()
    assert run(["compare", "none", "--data", f"folder:{folder}"]) == 3
    error = capsys.readouterr().err
    assert error.count("Error: ") == 1 and "Traceback" not in error
    assert {"empty class": "dog", "corrupt image": "3.png"}.get(damage, str(folder)) in error


QUICK = """
import sys
from robustreg.cli.main import run
code = run(sys.argv[1:])
print(code, sorted({"torch", "torchvision", "matplotlib", "scipy", "numpy"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--help"], 0), (["--version"], 0), (["compare", "--help"], 0), (["compare", "l1:"], 2), (["train", "a++b"], 2),
     (["attack", "model", "--attack", "pgd:"], 2), (["compare", "--eps", "x"], 2)],
)  # fmt: skip
def test_help_and_syntax_errors_import_nothing_heavy(arguments, code):
    done = subprocess.run([sys.executable, "-c", QUICK, *arguments], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"{code} []"


def test_a_failed_run_is_exit_code_1_and_the_rest_is_there(tmp_path, capsys, monkeypatch):
    (tmp_path / "fragile.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        if self.training and len(self) == 4: raise RuntimeError('no dropout here')\n"
        "        return super().forward(x)\n"
        "def net():\n    return Net(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    code = run(["compare", "none", *SMALL[:-2], *NO_NOISE, "--model", "fragile:net", "--json", "--out", "o"])
    document = strict(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    assert code == 1
    assert {run["status"] for run in document["arms"][0]["runs"]} == {"failed"}
    assert "no dropout here" in document["arms"][0]["runs"][0]["reason"]


def test_train_evaluate_and_attack_a_model(tmp_path, capsys):
    out = tmp_path / "here"
    arguments = ["train", "dropout:0.2", *SMALL[:2], "--epochs", "3", "--seed", "3", "--out", str(out), "--json"]
    assert run(arguments) == 0
    trained = strict(capsys.readouterr().out)
    assert trained["status"] == "ok" and trained["epochs"] == 3
    assert sorted(path.name for path in out.iterdir()) == ["history.csv", "model.safetensors", "run.json"]
    assert len((out / "history.csv").read_text().splitlines()) == 4
    model = str(out / "model.safetensors")

    assert run(["evaluate", model, "--json"]) == 0
    found = strict(capsys.readouterr().out)
    assert {"model", "data", "measures", "trust", "versions"} <= set(found)
    assert found["data"] == SMALL[1] and found["seed"] == 3
    assert found["measures"]["train_accuracy"] == pytest.approx(trained["last"][0]["train_accuracy"])

    assert run(["attack", model, "--json", "--eps", "0,1/16,2/16"]) == 0
    curves = strict(capsys.readouterr().out)
    assert curves["eps"] == [0, 1 / 16, 2 / 16]
    clean = found["measures"]["clean_accuracy"]
    for curve in (*curves["attacks"].values(), curves["worst_case"]):
        accuracies = list(curve.values())
        assert accuracies[0] == pytest.approx(clean) and accuracies == sorted(accuracies, reverse=True)
    worst = [min(values) for values in zip(*(curve.values() for curve in curves["attacks"].values()), strict=True)]
    assert all(total <= least for total, least in zip(curves["worst_case"].values(), worst, strict=True))
    assert curves["worst_case"]["0.125"] == pytest.approx(found["measures"]["robust_accuracy"])

    assert run(["evaluate", model]) == 0
    text = capsys.readouterr().out
    assert "fgsm_accuracy (weak)" in text and "green" in text
    assert run(["attack", model, "--attack", "pgd:steps=3,loss=margin"]) == 0
    assert "pgd:steps=3,loss=margin" in capsys.readouterr().out


def test_evaluate_a_callable_with_and_without_weights(tmp_path, capsys, monkeypatch):
    (tmp_path / "theirs.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    data = ["--data", "digits"]
    assert run(["train", "none", "--model", "theirs:net", "--epochs", "5", "--out", "o", *data]) == 0
    capsys.readouterr()
    accuracy = {}
    for name, more in (("random", []), ("trained", ["--weights", "o/model.safetensors"])):
        assert run(["evaluate", "theirs:net", *more, *data, "--json"]) == 0
        accuracy[name] = strict(capsys.readouterr().out)["measures"]["clean_accuracy"]
    assert accuracy["random"] < 0.4 < 0.8 < accuracy["trained"]
    assert run(["evaluate", "o/model.safetensors"]) == 2
    assert "--model theirs:net" in capsys.readouterr().err
    assert run(["evaluate", "o/model.safetensors", "--model", "theirs:net", "--json"]) == 0
    assert strict(capsys.readouterr().out)["measures"]["clean_accuracy"] == accuracy["trained"]
    assert run(["evaluate", "o/model.safetensors", "--model", "mlp"]) == 3
    assert "do not fit" in capsys.readouterr().err


def test_a_diverged_training_says_so_and_writes_its_history(tmp_path, capsys):
    code = run(["train", "l2:1e6", *SMALL[:2], "--epochs", "5", "--out", str(tmp_path), "--json"])
    captured = capsys.readouterr()
    assert code == 1 and "diverged" in captured.err
    assert strict(captured.out)["status"] == "diverged" and (tmp_path / "history.csv").exists()


def test_lists_are_json_arrays_of_objects_with_names(capsys):
    for arguments in (["plugins", "list", "--json"], ["data", "list", "--json"]):
        assert run(arguments) == 0
        rows = strict(capsys.readouterr().out)
        assert isinstance(rows, list) and all(row["name"] for row in rows)
    assert {"digits", "folder", "mnist", "afhq"} <= {row["name"] for row in rows}
    for arguments in (
        ["plugins", "list"],
        ["data", "list"],
        ["data", "info", "digits"],
        ["plugins", "info", "dropout"],
    ):
        assert run(arguments) == 0
        assert capsys.readouterr().out


def test_info_of_a_plugin_and_of_data(capsys, folder):
    assert run(["plugins", "info", "dropout", "--json"]) == 0
    about = strict(capsys.readouterr().out)
    assert about["kind"] == "regularizer" and about["distribution"] == "robustreg"
    assert about["options"][0]["default"] == 0.5 and "Srivastava" in about["about"]
    assert run(["data", "info", f"folder:{folder}", "--json"]) == 0
    about = strict(capsys.readouterr().out)
    assert about["class_names"] == ["cat", "dog", "wild"] and about["images"] == 72 and about["shape"] == [3, 32, 32]


def test_options_come_from_a_file_and_what_is_typed_goes_before(tmp_path, capsys):
    study = tmp_path / "study.toml"
    study.write_text(
        '[study]\nspecs = ["none", "l2:1e-3"]\ndata = "digits:train=120,val=40,test=60"\nmodel = "mlp:hidden=16"\n'
        "seeds = 2\nepochs = 2\nlabel-noise = [0.0]\n"
    )
    where = ["--json", "--no-figures", "--out", str(tmp_path / "o")]
    assert run(["compare", "-f", str(study), *where, "--seeds", "1"]) == 0
    document = strict(capsys.readouterr().out)
    assert [arm["arm"] for arm in document["arms"]] == ["none", "l2:0.001"]
    assert document["study"]["seeds"] == [0] and document["study"]["label_conditions"] == ["true"]
    study.write_text("[study]\nepocs = 3\n")
    assert run(["compare", "-f", str(study)]) == 2
    assert "epocs" in capsys.readouterr().err
    study.write_text("[study\n")
    assert run(["compare", "-f", str(study)]) == 2
    assert "line 1" in capsys.readouterr().err


def test_interrupting_is_exit_code_130_and_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    from robustreg.study import coordinator as room

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "execute", interrupt)
    for engine in ("serial", "local"):
        assert run(["compare", "none", *SMALL, "--engine", engine, "--out", str(tmp_path)]) == 130
        assert "robustreg compare none" in capsys.readouterr().err


def test_a_model_trained_elsewhere_is_measured_without_training_data(tmp_path, capsys, monkeypatch, folder):
    import torch
    from torch import nn

    (tmp_path / "elsewhere.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))
    with torch.no_grad():  # the class is the brightest channel
        network[1].weight.copy_(torch.eye(3).repeat_interleave(1024, 1))
        network[1].bias.zero_()
    torch.save({"state_dict": network.state_dict()}, "net.pt")
    torch.save(network, "whole.pt")
    arguments = ["evaluate", "elsewhere:net", "--data", f"folder:{folder}", "--whole", "--json"]
    assert run([*arguments, "--weights", "net.pt", "--allow-pt"]) == 0
    found = strict(capsys.readouterr().out)
    assert found["measures"]["clean_accuracy"] == 1.0
    assert "train_accuracy" not in found["measures"] and "robust_curve" in found["measures"]
    assert found["trust"]
    assert run([*arguments, "--weights", "whole.pt", "--allow-pt"]) == 3
    assert "weights_only=True" in capsys.readouterr().err
    assert run([*arguments, "--weights", "absent.pt", "--allow-pt"]) == 3


def test_a_model_is_tested_on_its_own_split_whatever_the_seed_of_the_attacks(tmp_path, capsys, folder):
    assert run(["train", "none", *SMALL[:2], "--epochs", "1", "--seed", "2", "--out", str(tmp_path / "m")]) == 0
    model = str(tmp_path / "m" / "model.safetensors")
    capsys.readouterr()
    found = {}
    for seed in ("2", "5"):
        assert run(["evaluate", model, "--seed", seed, "--json"]) == 0
        found[seed] = strict(capsys.readouterr().out)["measures"]
    assert found["2"]["clean_accuracy"] == found["5"]["clean_accuracy"]
    assert found["2"]["train_accuracy"] == found["5"]["train_accuracy"]
    assert run(["evaluate", model, "--data", "digits:train=100,val=40,test=60", "--json"]) == 0
    assert "was trained on" in capsys.readouterr().err
    assert run(["evaluate", model, "--data", f"folder:{folder}"]) == 2
    assert "knows the classes" in capsys.readouterr().err


def test_a_smaller_study_sets_the_report_of_the_larger_one_aside(tmp_path, capsys):
    arguments = [*SMALL, *NO_NOISE, "--no-figures", "--out", str(tmp_path)]
    assert run(["compare", "l2:1e-3", "dropout:0.5", *arguments]) == 0
    larger = (tmp_path / "results.json").read_text()
    assert run(["compare", "l2:1e-3", *arguments]) == 0
    assert "earlier-1" in capsys.readouterr().err
    assert (tmp_path / "earlier-1" / "results.json").read_text() == larger
    assert run(["compare", "l2:1e-3", "l1", *arguments]) == 0  # says all that the report there says: replaces it
    assert not (tmp_path / "earlier-2").exists()


def test_the_l2_grid_is_no_error(tmp_path, capsys):
    assert run(["compare", "none", *SMALL, *NO_NOISE, "--norm", "l2", "--json", "--out", str(tmp_path)]) == 0
    assert max(strict(capsys.readouterr().out)["study"]["eps"]) > 1


def test_diverged_runs_are_exit_code_1(tmp_path, capsys):
    arguments = [*SMALL, *NO_NOISE, "--learning-rate", "1e30", "--json", "--no-figures", "--out", str(tmp_path)]
    assert run(["compare", "none", *arguments]) == 1
    assert strict(capsys.readouterr().out)["arms"][0]["runs"][0]["status"] == "diverged"


def test_check_tells_whether_a_plugin_keeps_the_laws(capsys):
    assert run(["plugins", "check", "l2", "--json"]) == 0
    assert {row["status"] for row in strict(capsys.readouterr().out)["checks"]} == {"passed", "skipped"}


@pytest.mark.parametrize(("into", "code"), [("/dev/full", 6), ("closed pipe", 0)])
def test_output_that_goes_nowhere_is_no_traceback(into, code):
    program = [sys.executable, "-m", "robustreg", "plugins", "list"]
    if into == "closed pipe":
        process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
        process.wait()
    else:
        with open(into, "w") as full:
            process = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True)
        error = process.stderr
    assert process.returncode == code
    assert "Traceback" not in error and "Exception" not in error


def test_label_modes_are_those_of_the_data_room_and_reach_it(tmp_path, capsys):
    arguments = ["--label-noise", "0.5", "--label-mode", "pair_flip", "--json", "--no-figures", "--out", str(tmp_path)]
    assert run(["compare", "none", *SMALL, *arguments]) == 0
    captured = capsys.readouterr()
    assert strict(captured.out)["study"]["label_conditions"] == ["true", "pair_flip:0.5"]
    assert "trust flags" in captured.err


def test_a_group_without_a_command_shows_what_there_is(capsys):
    for arguments in (["plugins"], ["data"], []):
        assert run(arguments) == 2
        error = capsys.readouterr().err
        assert error.count("Usage:") == 1 and "Commands:" in error and "Error" not in error


def test_names_the_command_line_knows_without_torch_are_those_of_the_rooms():
    from dataclasses import fields

    from robustreg import attacks, data, recipe
    from robustreg.cli import options
    from robustreg.study import protocol

    assert tuple(protocol.PROTOCOLS) == attacks.PROTOCOLS == options.PROTOCOLS
    assert tuple(recipe.OPTIMIZERS) == options.OPTIMIZERS
    assert data.MODES == options.LABEL_MODES
    assert tuple(field.name for field in fields(recipe.Recipe)) == options.RECIPE


def test_the_baseline_alone_with_few_seeds_has_nothing_to_test(tmp_path, capsys):
    arguments = [*SMALL, *NO_NOISE, "--protocol", "standard", "--no-figures", "--out", str(tmp_path)]
    assert run(["compare", "none", *arguments]) == 0
    assert "needed" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(("own", "frozen"), [(True, 1), (False, 0)])
def test_only_a_process_of_its_own_is_ended_without_looking_through_all_that_torch_has_made(own, frozen, monkeypatch):
    calls = []
    monkeypatch.setattr("gc.freeze", lambda: calls.append("freeze"))
    monkeypatch.setattr("sys.argv", ["robustreg", "--version"])
    with pytest.raises(SystemExit) as ended:
        main(None if own else ["--version"])
    assert (ended.value.code, len(calls)) == (0, frozen)
