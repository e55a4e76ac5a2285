"""Every example runs, on tiny data."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
TINY = {
    "own_model": {"seeds": 1, "epochs": 1},
    "own_data": {"count": 60, "seeds": 1, "epochs": 1},
    "own_regularizer": {"seeds": 1, "epochs": 1},
    "eps_curve": {"epochs": 1},
    "own_loop": {"epochs": 1},
    "notebook": {"seeds": 1, "epochs": 1},
}


def test_every_example_is_tried():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(TINY)


@pytest.mark.parametrize("name", TINY)
def test_an_example_runs_and_prints(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(**TINY[name])
    assert capsys.readouterr().out.strip()
