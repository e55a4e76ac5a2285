"""The documents say what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from robustreg import hookspecs, regularizers
from robustreg.testing import LAWS

ROOT = Path(__file__).parents[1]
PLUGINS = (ROOT / "docs" / "plugins.md").read_text()
TEMPLATE = ROOT / "plugins" / "robustreg-confidence-penalty"


def signatures() -> dict[str, str]:
    tree = ast.parse(Path(hookspecs.__file__).read_text())
    specs = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    functions = [node for spec in specs for node in spec.body if isinstance(node, ast.FunctionDef)]
    return {f.name: f"def {f.name}({ast.unparse(f.args)}) -> {ast.unparse(f.returns)}" for f in functions if f.returns}


def blocks(text: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("hook", signatures())
def test_every_hook_is_documented_with_its_exact_signature(hook: str) -> None:
    assert signatures()[hook] in [line for block in blocks(PLUGINS) for line in block.splitlines()]


def test_all_hooks_were_found() -> None:
    assert {"prepare", "batch", "penalty", "learning_rate", "after_epoch", "finish"} <= set(signatures())
    assert {"regularizers", "attacks", "measures", "datasets", "models", "commands"} <= set(signatures())


@pytest.mark.parametrize(
    "name", sorted(path.name for path in TEMPLATE.iterdir() if path.suffix in (".py", ".cfg", ".toml"))
)
def test_the_template_is_quoted_as_it_is(name: str) -> None:
    assert (TEMPLATE / name).read_text() in blocks(PLUGINS)


@pytest.mark.parametrize("law", LAWS)
def test_every_law_is_documented_in_its_own_words(law: str) -> None:
    assert f"| `{law}` | {(LAWS[law].__doc__ or '').splitlines()[0]} |" in PLUGINS


def test_no_hook_or_law_is_documented_that_is_gone() -> None:
    headings = set(re.findall(r"^### (\w+)$", PLUGINS, flags=re.MULTILINE))
    assert headings == {name for name in vars(hookspecs.Training) if not name.startswith("_")}
    assert set(re.findall(r"^\| `(\w+)` \|", PLUGINS, flags=re.MULTILINE)) == set(LAWS)


@pytest.mark.parametrize("regularizer", regularizers.regularizers(), ids=lambda kind: kind.name)
def test_every_knob_has_a_line_that_explains_it(regularizer: type) -> None:
    for knob in regularizer.knobs.values():  # type: ignore[attr-defined]
        assert knob.doc, knob.name


def test_the_readme_of_the_template_names_what_it_is() -> None:
    readme = (TEMPLATE / "README.md").read_text()
    assert readme.startswith("# robustreg-confidence-penalty\n")
    assert "robustreg plugins check confidence_penalty" in readme
