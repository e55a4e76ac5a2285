"""The documents say what the code says."""

from __future__ import annotations

import ast
import csv
import inspect
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from robustreg import hookspecs, regularizers
from robustreg.cli.compare import command as compare_command
from robustreg.plugins import discover
from robustreg.resolve import arms_of
from robustreg.spec import parse
from robustreg.testing import LAWS

ROOT = Path(__file__).parents[1]
PLUGINS = (ROOT / "docs" / "plugins.md").read_text()
CATALOGUE = discover()
TEMPLATE = ROOT / "plugins" / "robustreg-logit-squeezing"


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
    assert readme.startswith("# robustreg-logit-squeezing\n")
    assert "robustreg plugins check logit_squeezing" in readme


FGSM_PAGE = (ROOT / "docs" / "why-fgsm-misleads.md").read_text()


def kept_results() -> dict[str, list[dict[str, str]]]:
    """The runs of the study behind the page, by arm."""
    with (ROOT / "docs" / "figures" / "why-fgsm-misleads.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {arm: [row for row in rows if row["arm"] == arm] for arm in dict.fromkeys(row["arm"] for row in rows)}


def mean(runs: list[dict[str, str]], column: str) -> float:
    return 100 * sum(float(run[column]) for run in runs) / len(runs)


def test_the_command_of_the_fgsm_page_is_understood_and_has_the_arms_of_its_table() -> None:
    (command,) = re.findall(r"^    robustreg compare (.+)$", FGSM_PAGE, flags=re.MULTILINE)
    context = compare_command.make_context("compare", shlex.split(command))
    assert context.params["protocol"] == "standard" and context.params["label_noise"] == (0.0,)
    arms = [str(arm.name) for arm in arms_of([parse(spec) for spec in context.params["specs"]], discover([]))]
    assert arms == list(kept_results()) == re.findall(r"^\| `(\S+)` \|", FGSM_PAGE, flags=re.MULTILINE)


def test_the_table_of_the_fgsm_page_is_the_mean_of_the_runs_kept_beside_it() -> None:
    results = kept_results()
    base = results["none"]
    columns = ("clean_accuracy", "fgsm_accuracy", "robust_accuracy")
    for arm, runs in results.items():
        assert [run["seed"] for run in runs] == [str(seed) for seed in range(10)]
        (line,) = re.findall(rf"^\| `{re.escape(arm)}` \|(.+)\|$", FGSM_PAGE, flags=re.MULTILINE)
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[:3] == [f"{mean(runs, column):.1f}" for column in columns]
        if arm != "none":
            fgsm, worst = (mean(runs, column) - mean(base, column) for column in columns[1:])
            pairs = zip(runs, base, strict=True)
            gains = [100 * (float(run[columns[2]]) - float(own[columns[2]])) for run, own in pairs]
            low, high = scipy.stats.t.interval(0.95, 9, np.mean(gains), scipy.stats.sem(gains))
            assert cells[3:5] == [f"{fgsm:+.1f}", f"{worst:+.1f} [{low:+.1f}, {high:+.1f}]"]


def test_the_text_of_the_fgsm_page_quotes_the_runs_kept_beside_it() -> None:
    runs, text = kept_results()["fgsm_training:0.3125"], " ".join(FGSM_PAGE.split())
    weak, worst = (mean(runs, f"{curve}@0.3125") for curve in ("fgsm_curve", "robust_curve"))
    assert f"at eps 5/16 FGSM leaves {weak:.1f} % standing, the worst case {worst:.1f} %" in text
    assert (ROOT / "docs" / "figures" / "why-fgsm-misleads.svg").exists()


def catalogue_row(name: str) -> str:
    kind, origin = CATALOGUE.offers["regularizers"][name], CATALOGUE.origins["regularizers", name]
    about = (inspect.getdoc(kind) or "").splitlines()[0].replace("|", "\\|")
    row = f"| `{name}` | {kind.knobs['strength'].default:g} | {about} |"
    return row if origin.distribution == "robustreg" else f"{row} `{origin.distribution}` |"


def test_the_page_of_regularizers_has_each_under_its_kind_with_its_default_and_its_first_line() -> None:
    page = (ROOT / "docs" / "regularizers.md").read_text()
    found = {}
    for section in page.split("\n## ")[1:]:
        title, rest = section.split("\n", 1)
        found[title] = [line for line in rest.splitlines() if line.startswith("| `")]
    wanted: dict[str, list[str]] = {}
    for name, kind in CATALOGUE.offers["regularizers"].items():
        ours = CATALOGUE.origins["regularizers", name].distribution == "robustreg"
        section = "Baseline" if name == "none" else kind.kind.capitalize()
        wanted.setdefault(section if ours else "In plugins of their own", []).append(catalogue_row(name))
    assert found == wanted


def test_the_study_of_the_catalogue_names_every_regularizer_of_the_core() -> None:
    study = tomllib.loads((ROOT / "examples" / "catalogue.toml").read_text())["study"]
    assert study["specs"] == [kind.name for kind in regularizers.regularizers()]
