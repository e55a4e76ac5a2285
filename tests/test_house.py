"""The house rules that a machine can check: who imports whom, sizes, and what names occur where."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import robustreg
from robustreg.plugins import discover

ROOT = Path(robustreg.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# Imports go from a line to lines above it. The core is what a training needs; it knows nothing but itself.
LAYERS = (
    {"errors"},
    {"compiler", "func", "hookspecs", "noise", "place", "pooling", "sgd", "statistics"},
    {"inference", "layers", "manifest", "plugins", "reference", "regularizer", "spec", "states", "threat"},
    {"chain", "fitting"},
    {"hooks", "attacks", "data", "distributed", "engines", "models", "recipe"},
    {"objective", "regularizers"},
    {"measures", "resolve", "session"},
    {"training"},
    {"checkpoint", "cohort"},
    {"testing"},
    {"study"},
    {"report"},
    {"tuning"},
    {"course"},
    {"cli"},
    {"__main__"},
)
CORE = {
    "errors",
    "hookspecs",
    "noise",
    "layers",
    "pooling",
    "inference",
    "fitting",
    "regularizer",
    "distributed",
    "hooks",
    "objective",
    "recipe",
    "compiler",
    "func",
    "sgd",
    "session",
    "training",
}
LATE = {("study", "report")}  # a comparison draws itself; only inside functions
WORDS = {"step", "learning_rate", "weight_decay"}  # built-ins named like what every training has


def room(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def checked_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(node: ast.AST, inside: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import that is executed, and whether it stands inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, inside
        elif not checked_only(child):
            yield from imports(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def rooms_imported(path: Path) -> Iterator[tuple[str, bool]]:
    package = ("robustreg", *path.relative_to(ROOT).parent.parts)
    for node, inside in imports(tree(path)):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        else:
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            targets = [[*base, alias.name] for alias in node.names]
        yield from ((target[1], inside) for target in targets if target[0] == "robustreg" and len(target) > 1)


EDGES = sorted(
    {(room(path), to, inside) for path in FILES for to, inside in rooms_imported(path) if to != room(path)}
)  # fmt: skip


def test_every_room_has_a_layer() -> None:
    known = set().union(*LAYERS)
    assert {room(path) for path in FILES} - {"__init__"} <= known


@pytest.mark.parametrize(("start", "to", "inside"), EDGES, ids=lambda value: str(value))
def test_imports_point_one_way(start: str, to: str, inside: bool) -> None:
    if inside and (start, to) in LATE:
        return
    level = {name: index for index, layer in enumerate(LAYERS) for name in layer}
    assert level[to] < level[start]
    assert start not in CORE or to in CORE


def test_the_graph_was_read() -> None:
    assert ("training", "objective", False) in EDGES
    assert ("objective", "noise", False) in EDGES
    assert len(EDGES) > 30


def test_no_built_in_regularizers_name_occurs_in_the_core() -> None:
    names = set(discover([]).offers["regularizers"]) - WORDS
    for path in FILES:
        if room(path) in CORE | {"cohort", "plugins", "spec"}:
            said = {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)}
            assert names.isdisjoint({word for word in said if isinstance(word, str)}), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("module", ["torchvision", "pandas"])
def test_what_is_heavy_is_imported_late(module: str) -> None:
    for path in FILES:
        for node, inside in imports(tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if not (isinstance(node, ast.ImportFrom) and node.level):
                assert inside or module not in {name.split(".")[0] for name in names}, path


def test_only_the_command_line_imports_click() -> None:
    for path in FILES:
        for node, _ in imports(tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert "click" not in names or room(path) == "cli", path


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, robustreg; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there_and_listed() -> None:
    for name in robustreg.__all__:
        assert getattr(robustreg, name) is not None
    assert set(robustreg.__all__) == set(dir(robustreg))
    wanted = {"Regularizer", "Knob", "hookimpl", "Objective", "train", "Run", "Recipe", "load_data", "evaluate"}
    wanted |= {
        "compare",
        "Comparison",
        "train_many",
        "regularizers",
        "attacks",
        "measures",
        "models",
        "testing",
        "data",
    }
    assert wanted <= set(robustreg.__all__)


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'robustreg' has no attribute 'trian'"):
        robustreg.trian  # noqa: B018
    assert not hasattr(robustreg, "no_such_thing")


def test_the_names_users_import_are_the_ones_of_their_rooms() -> None:
    from robustreg import hookimpl, train
    from robustreg.hookspecs import hookimpl as original_hookimpl
    from robustreg.training import train as original_train

    assert hookimpl is original_hookimpl
    assert train is original_train
