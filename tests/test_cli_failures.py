"""What goes wrong outside robustreg - storage, plugins, code of the user, files - is told as what it is."""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

import robustreg as rr
from robustreg.attacks import Attack, evaluate_attacks
from robustreg.cli import blame
from robustreg.cli.main import cli, run
from robustreg.data import Dataset
from robustreg.errors import DataError, DiskFullError, PluginError, StoreError, UsageError
from robustreg.study.disk import DamagedError, on_disk
from robustreg.study.salvage import salvage
from robustreg.study.store import Store

DATA = ["--data", "digits:train=60,val=20,test=30", "--model", "mlp:hidden=8"]
PLUGIN = """
import os, sys
from robustreg import hookimpl
from robustreg.attacks import Attack
print("printed at import")

def raises(model, x, y, **known):
    print("printed in an attack")
    raise ValueError("boom\\nat night")

@hookimpl
def attacks():
    print("printed in attacks()")
    return [Attack("raises", raises, "It raises.")]

@hookimpl
def commands(group):
    print("printed in commands()")
    @group.command("crash")
    def crash():
        raise KeyError("oops")
"""


@contextmanager
def modes_hold() -> Iterator[None]:
    """Let a file be what its mode says for root, too."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "capset"):  # no Linux: root there may write anywhere
        if os.geteuid() == 0:
            pytest.skip("root may write anywhere")
        yield
        return
    header, before = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, before)
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~0b110
    libc.capset(header, less)
    try:
        yield
    finally:
        libc.capset(header, before)


def sealed(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)


def opened(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def begin(study: Path) -> None:
    with Store(study) as store, store.coordinated():
        pass


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_sound_store_that_may_not_be_written_to_is_not_called_damaged(tmp_path: Path, what: str) -> None:
    """Neither opening it nor saving what is in it: the cure that is named is one that works."""
    study = tmp_path / "study"
    with Store(study):
        pass
    sealed(study)
    if what == "file":  # of another user, in a folder of one's own
        study.chmod(0o755)
    try:
        with modes_hold():
            for act in (begin, salvage):
                with pytest.raises(StoreError, match=r"cannot write in .*study.*writable") as caught:
                    act(study)
                assert "damaged" not in str(caught.value) and "--salvage" not in str(caught.value)
    finally:
        opened(study)
    assert [path.name for path in study.glob("study.db*") if "damaged" in path.name] == []
    with Store(study) as store:
        assert store.damage() == []


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        ("SQLITE_FULL", DiskFullError, "no room"),
        ("SQLITE_IOERR_WRITE", DiskFullError, "no room"),
        ("SQLITE_IOERR_READ", StoreError, "the disk .* fails"),
        ("SQLITE_IOERR_LOCK", StoreError, "the disk .* fails"),
        ("SQLITE_BUSY_SNAPSHOT", StoreError, "locked"),
        ("SQLITE_READONLY_DBMOVED", StoreError, "cannot write in"),
        ("SQLITE_CANTOPEN", StoreError, "cannot write in"),
        ("SQLITE_CORRUPT", DamagedError, "--salvage"),
        ("SQLITE_NOTADB", DamagedError, "--salvage"),
        ("SQLITE_ERROR", DamagedError, "--salvage"),
        ("SQLITE_IOERR_SHORT_READ", DamagedError, "--salvage"),
    ],
)
def test_only_what_sqlite_says_of_the_content_is_damage(
    tmp_path: Path, code: str, kind: type[Exception], says: str
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, code), code
    with pytest.raises(kind, match=says) as caught, on_disk(tmp_path):
        raise error
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "none", "--epochs", "1", *DATA],
        ["plugins", "new", "gentle"],
        ["compare", "none", "--epochs", "1", "--seeds", "1", "--label-noise", "0", *DATA],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_folder_that_may_not_be_written_to_is_exit_code_5_for_every_command(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    sealed(home)
    try:
        with modes_hold():
            assert run([*arguments, "--out", str(home / "new"), "--json"]) == 5
    finally:
        opened(home)
    said = json.loads(capsys.readouterr().out)["error"]["message"]
    assert said.startswith("cannot write in") and "choose another folder" in said


def install(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    """Let this be the only plugin; the entry points of others are what they were."""
    entry, before = metadata.EntryPoint(name, module, "robustreg"), metadata.entry_points

    def entry_points(**known: str) -> object:
        return [entry] if known == {"group": "robustreg"} else before(**known)

    monkeypatch.setattr(metadata, "entry_points", entry_points)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A plugin that prints wherever it can, with an attack and a command that raise."""
    (tmp_path / "a_plugin_that_prints.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    install(monkeypatch, "prints", "a_plugin_that_prints")
    yield "a_plugin_that_prints"
    sys.modules.pop("a_plugin_that_prints", None)


def test_what_a_plugin_prints_while_it_is_loaded_is_not_in_the_document(
    plugin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plugins", "list", "--json"]) == 0
    captured = capsys.readouterr()
    assert any(row["name"] == "raises" for row in json.loads(captured.out))
    assert "printed at import" in captured.err and "printed in attacks()" in captured.err
    sys.modules.pop(plugin)
    assert run(["plugins", "list"]) == 0
    assert "printed" not in capsys.readouterr().out


def test_standard_output_is_what_it_was_after_a_mistake_in_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    assert run(["tune", "--json"]) == 2
    assert sys.stdout is before and json.loads(capsys.readouterr().out)["error"]["exit_code"] == 2


def test_an_attack_that_raises_is_named_and_what_it_prints_is_no_data(
    plugin: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_network.py").write_text("import torch\ndef net(shape, classes):\n return torch.nn.Sequential("
                                            "torch.nn.Flatten(), torch.nn.Linear(64, classes))")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["attack", "my_network:net", "--attack", "raises", "--eps", "0.1", *DATA[:2], "--json"]) == 4
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"] == {
        "message": "attack 'raises' failed: ValueError: boom at night", "exit_code": 4
    }  # fmt: skip
    assert "Traceback" not in captured.err and "printed in an attack" in captured.err


def test_a_command_of_a_plugin_that_raises_is_an_error_of_the_plugin(
    plugin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["crash"]) == 4
    captured = capsys.readouterr()
    assert "plugin prints failed: KeyError: 'oops'" in captured.err and f"{plugin}.py, line " in captured.err
    assert "Traceback" not in captured.err and captured.out == ""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda x: None, r"returned NoneType; .* a tensor of shape \(20, 4\)"),
        (lambda x: x[:3], r"returned images of shape \(3, 4\); .* a tensor of shape \(20, 4\)"),
        (lambda x: sys.exit(0), "failed: SystemExit: 0"),
        (lambda x: 1 / 0, "failed: ZeroDivisionError: division by zero"),
    ],
    ids=["none", "shape", "exit", "raise"],
)
@pytest.mark.parametrize("together", [False, True])
def test_an_attack_that_returns_no_images_is_named_with_what_it_returned(given, says: str, together: bool) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    x = torch.rand(20, 4)
    y = model(x).argmax(-1)
    bad = Attack("bad", lambda model, x, y, **known: given(x), "", together=together)
    with pytest.raises(PluginError, match=rf"attack 'bad' {says}"):
        evaluate_attacks(model, x, y, [bad], (1e-6,), headline=1e-6)


NETWORK = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls = torch.nn.Linear(64, 10), 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 12:
            raise RuntimeError("tired")
        return self.layer(x.flatten(1))
"""


def test_a_network_that_fails_in_mid_training_is_one_message_that_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiring.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "none", "--data", "digits", "--model", "tiring:Net", "--epochs", "9", "--out", "o", "--json"]
    assert run(arguments) == 2
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    assert error["exit_code"] == 2 and "the code of tiring failed: RuntimeError: tired" in error["message"]
    assert "tiring.py, line 12, in forward" in error["message"] and "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyError("gone"), 1, ["robustreg made a mistake: KeyError: 'gone'", "cli/main.py:", "doctor"]),
        (PermissionError(13, "Permission denied", "/x/y"), 5, ["/x/y: Permission denied"]),
        (MemoryError(), 1, ["not enough memory"]),
        (SystemExit(0), 1, ["SystemExit: 0"]),
    ],
    ids=["bug", "denied", "memory", "exit"],
)
def test_whatever_comes_out_is_one_document_and_can_be_reported(
    error: BaseException, code: int, says: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", fails)
    monkeypatch.setitem(fails.__globals__, "__name__", "robustreg.somewhere")  # as if its line were one of ours
    assert run(["doctor", "--json"]) == code
    captured = capsys.readouterr()
    said = json.loads(captured.out)["error"]
    assert said["exit_code"] == code and all(text in said["message"] for text in says)
    assert captured.err.startswith("Error: ") and captured.err.count("\n") == 1  # no traceback


def test_an_error_of_robustreg_stays_what_it_is() -> None:
    error = UsageError("so")
    assert blame.blamed(error) is error


def test_the_headline_eps_of_attack_is_attacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "steady.py").write_text(NETWORK.replace("> 12", "< 0"))
    monkeypatch.chdir(tmp_path)
    common = ["attack", "steady:Net", "--attack", "fgsm", *DATA[:2], "--json"]
    assert run([*common, "--eps", "0,0.1", "--headline-eps", "0.3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["eps"] == [0, 0.1, 0.3] and found["headline_eps"] == 0.3
    assert list(found["attacks"]["fgsm"]) == ["0.0", "0.1", "0.3"]


def test_options_of_data_after_a_comma_are_told_to_come_after_a_colon(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "none", "--data", "digits,train=500"]) == 2
    assert "options come after a colon: digits:train=500\n  digits,train=500\n        ^" in capsys.readouterr().err


def test_a_plugin_is_not_begun_with_a_name_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plugins", "new", "dropout", "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert "'dropout' already" in error and "robustreg.regularizers" in error and not (tmp_path / "new").exists()


def test_check_says_that_the_plugin_of_that_name_was_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "also_called_none.py").write_text(
        "import robustreg as rr\nclass Mine(rr.Regularizer):\n    name = 'none'\n"
        "@rr.hookimpl\ndef regularizers():\n    return [Mine]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    install(monkeypatch, "mine", "also_called_none")
    assert run(["plugins", "check", "none", "--json"]) == 4
    captured = capsys.readouterr()
    assert "which robustreg.regularizers" in captured.err and "plugin mine" in captured.err
    (rejected,) = json.loads(captured.out)["rejected"]
    assert "offers the name 'none'" in rejected


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "autoattack"])
def test_what_is_no_tensor_of_numbers_is_told_to_whoever_attacks_with_it(attack: str) -> None:
    model, x, y = torch.nn.Linear(4, 3), torch.rand(5, 4), torch.zeros(5, dtype=torch.int64)
    call = getattr(rr.attacks, attack)
    with pytest.raises(UsageError, match=r"images must be a torch.Tensor, got ndarray"):
        call(model, np.zeros((5, 4), np.float32), y, eps=0.1)
    with pytest.raises(UsageError, match=r"labels must be a torch.Tensor, got list"):
        call(model, x, [0] * 5, eps=0.1)
    x[3, 1] = x[4, 0] = torch.nan
    with pytest.raises(UsageError, match=r"2 of 5 images hold NaN, the first is image 3"):
        call(model, x, y, eps=0.1)


def test_data_with_nan_is_told_how_many_images_and_which() -> None:
    x = torch.rand(6, 1, 2, 2)
    x[2, 0, 1, 1] = x[5] = torch.nan
    with pytest.raises(DataError, match=r"2 of 6 images hold NaN, the first is image 2"):
        Dataset("mine", x, torch.tensor([0, 1] * 3), ("a", "b"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('json = "yes"', "json is no setting of a study; say --json"),
        ("as_json = true", "no setting is called 'as_json'."),
        ('seeds = "five"', "seeds: 'five' is not a whole number"),
        ("seeds = 0", "seeds: 0 is not in the range x>=1"),
        ('learning-rate = "x"', "learning-rate: 'x' is not a number"),
        ("shuffle = 3", "shuffle: '3' is not true or false"),
        ('protocol = "slow"', "protocol: 'slow' is not one of 'quick'"),
        ("eps = [0.1, -1]", "eps: -1 is below 0"),
        ('eps = "0,-0.1"', "eps: -0.1 is below 0"),
    ],
)
def test_a_bad_setting_in_a_file_is_told_with_the_file_and_in_the_words_of_the_user(
    line: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my.toml"
    file.write_text(line)
    assert run(["compare", "-f", str(file)]) == 2
    error = capsys.readouterr().err
    assert f"{file}: {says}" in error and "Did you mean 'as_json'" not in error


def test_a_finished_model_is_not_replaced_by_another_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same run again is; another one is refused, with what is there, before it is trained."""
    common = ["train", "none", *DATA, "--out", str(tmp_path), "--json", "--epochs"]
    assert run([*common, "3"]) == 0
    model = (tmp_path / "model.safetensors").read_bytes()
    assert run([*common, "3"]) == 0
    assert (tmp_path / "model.safetensors").read_bytes() == model
    capsys.readouterr()
    assert run([*common, "2"]) == 2
    said = json.loads(capsys.readouterr().out)["error"]["message"]
    assert "epochs 3" in said and "--out" in said and str(tmp_path / "model.safetensors") in said
    assert (tmp_path / "model.safetensors").read_bytes() == model
    (tmp_path / "run.json").write_text("[]")  # whose is it, then?
    assert run([*common, "3"]) == 2
    (tmp_path / "model.safetensors").unlink()
    assert run([*common, "2"]) == 0


def test_a_model_that_diverged_may_be_replaced(tmp_path: Path) -> None:
    common = ["train", "none", *DATA, "--out", str(tmp_path), "--epochs", "2"]
    assert run([*common, "--learning-rate", "1e30"]) == 1
    assert run(common) == 0


def test_a_measure_that_raises_costs_evaluate_only_its_own_value(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_measure_that_raises.py").write_text(
        "from robustreg.hookspecs import hookimpl\n"
        "from robustreg.measures import Measure\n"
        "@hookimpl\n"
        "def measures():\n"
        "    return [Measure('broken', lambda subject: 1 / 0, True, 'never there'),\n"
        "            Measure('whole', lambda subject: 1, True, 'always 1')]\n"
        "import torch\n"
        "def net(shape, classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    install(monkeypatch, "raises", "a_measure_that_raises")
    assert run(["evaluate", "a_measure_that_raises:net", "--eps", "0.1", *DATA[:2], "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["measures"]["whole"] == 1 and "broken" not in found["measures"]
    assert found["unmeasured"] == {"broken": "measure 'broken' failed: ZeroDivisionError: division by zero"}
    assert "not measured: measure 'broken' failed" in captured.err
    sys.modules.pop("a_measure_that_raises", None)
