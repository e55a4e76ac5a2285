"""The commands for authors and for reports of problems: `plugins new` and `doctor`."""

from __future__ import annotations

import importlib.util
import json
import re
from importlib import metadata
from pathlib import Path

import pytest
import torch

from robustreg.cli import doctor
from robustreg.cli.main import run
from robustreg.cli.scaffold import scaffold
from robustreg.plugins import discover
from robustreg.testing import check


def entry(name: str, value: str) -> metadata.EntryPoint:
    return metadata.EntryPoint(name, value, "robustreg")


def test_a_new_plugin_works_and_keeps_the_laws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["plugins", "new", "gentle_push", "--json"]) == 0
    files = [Path(path) for path in json.loads(capsys.readouterr().out)["files"]]
    assert all(path.is_file() for path in files)
    assert not any("__" in path.read_text() for path in files)
    monkeypatch.syspath_prepend(str(tmp_path / "robustreg-gentle-push"))
    catalogue = discover([entry("gentle_push", "robustreg_gentle_push")])
    assert catalogue.failures == []
    rows = check(catalogue.offers["regularizers"]["gentle_push"])
    assert {row["status"] for row in rows} == {"passed", "skipped"}  # those of hooks that it does not have
    tests = tmp_path / "robustreg-gentle-push" / "test_robustreg_gentle_push.py"
    spec = importlib.util.spec_from_file_location("scaffolded", tests)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.test_the_loss_grows_by_the_penalty()
    assert "robustreg =\n    gentle_push = robustreg_gentle_push" in (tests.parent / "setup.cfg").read_text()


@pytest.mark.parametrize("name", ["Upper", "two__bars", "1st", "with-dash", "class", "", "../out"])
def test_a_name_that_cannot_be_a_module_is_a_usage_error(name: str, tmp_path: Path) -> None:
    assert run(["plugins", "new", "--out", str(tmp_path / "there"), "--", name]) == 2
    assert not (tmp_path / "there").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    assert run(["plugins", "new", "push", "--out", str(tmp_path / "mine")]) == 2
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"


def test_the_scaffold_is_in_the_style_of_the_house() -> None:
    for path, text in scaffold("a_b").items():
        assert all(len(line) <= 120 for line in text.splitlines()), path
        assert text.endswith("\n")


def test_the_doctor_tells_versions_devices_and_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["torch"] == metadata.version("torch")
    assert found["versions"]["robustreg"] == metadata.version("robustreg")
    assert "cpu" in found["devices"]
    assert len(found["devices"]) == 1 + torch.cuda.device_count()
    assert "robustreg.regularizers" in found["plugins"]
    assert code == (4 if found["failures"] else 0)
    run(["doctor"])
    text = capsys.readouterr().out
    assert f"torch: {metadata.version('torch')}" in text
    assert str(Path.home()) not in text


def test_the_doctor_names_a_plugin_that_cannot_be_loaded() -> None:
    found = doctor.examine(discover([entry("broken", "no_such_module_at_all")]))
    assert len(found["failures"]) == 1
    assert re.search(r"plugin broken .*ModuleNotFoundError", found["failures"][0])


def test_the_doctor_looks_up_every_dependency_the_package_declares() -> None:
    needed = [re.split(r"[^\w-]", line)[0] for line in metadata.requires("robustreg") or () if "extra ==" not in line]
    assert set(needed) <= set(doctor.PACKAGES)
