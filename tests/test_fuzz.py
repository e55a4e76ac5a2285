"""Whatever is parsed answers nonsense with a usage or data error, quickly, and without importing torch.

5,000 cases; all of them are drawn from fixed seeds. More by ROBUSTREG_FUZZ=100000.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import click
import pytest
import torch

import robustreg as rr
from robustreg import checkpoint
from robustreg.cli.compare import command as compare
from robustreg.data import datasets
from robustreg.data.options import parse as parse_data
from robustreg.errors import DataError, UsageError
from robustreg.spec import expand, parse, parse_term

CASES = int(os.environ.get("ROBUSTREG_FUZZ", "5000"))
SLOW = 0.05  # seconds for a spec

SPECS = (
    "none", "l1:1e-4,1e-3,1e-2", "heavy@l2:1e+3+dropout:p=0.1,0.5", "fgsm:eps=8/255", "l1:lambda=1e-6..1e-1:6",
    "augment:crop=2,flip=true", "a.b:word=x/y,z=.5", "l1:lambda=1e-3+dropout:p=0.5",
)  # fmt: skip
DATA = (
    "digits",
    "digits:train=500,val=40",
    "folder:/tmp/x y,size=32,channels=3",
    "mnist358:noise=0.5",
    "afhq:sha256=ab",
)
PIECES = (
    *"+-:,=@/._ \t\n\r\0\x1b\u202e\ud800é٣0aA9[]{}()\"'\\#$%", "..", "1e", "1e999", "-0", "nan", "inf", "true",
    "9" * 400, "0x1", "\x1b]8;;x\x07", "=cmd()", "../", "__import__('os')", "label@", "l1:", ",p=", "+dropout:0.5",
    "1/0", "1..0:9",
)  # fmt: skip
STUDY = """[study]
specs = ["none", "l2:1e-3"]
data = "digits:train=120,val=40,test=60"
model = "mlp:hidden=16"
seeds = 2
epochs = 2
learning-rate = 0.05
label-noise = [0.0, 1.0]
eps = [0, 0.0625]
measures = ["clean_accuracy"]
out = "somewhere"
no-figures = true
"""
VALUES = (
    "0", "-1", "1e400", "nan", "9" * 400, "true", '""', '"x"', '"\\u0000"', "[]", "[[]]", "[1, true]", '["a", 1]', "{}",
    "{a = 1}", "1979-05-27", "[" * 3000, '"=cmd()"', "0.5", '"\\u001b[2J"', "[9e999]", "[inf]", '[{a = []}]',
)  # fmt: skip


def mutated(text: str, draw: random.Random) -> str:
    """A text with some of its characters taken out, doubled, replaced, or with pieces put in."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(text))
        to = min(len(text), at + draw.randint(0, 3))
        put = draw.choice(("", text[at:to] * 2, draw.choice(PIECES), draw.choice(PIECES) * draw.randint(1, 50)))
        text = text[:at] + put + text[to:]
    return text


def spec_texts(number: int) -> list[str]:
    draw = random.Random(1)
    return [mutated(draw.choice(SPECS), draw) for _ in range(number)]


def one_message(error: Exception) -> None:
    assert str(error) and "Traceback" not in str(error)


def quick(read: Callable[[], object], text: str) -> None:
    """Assert that an answer takes less than 50 ms: a busy machine may be slow once, a slow parser is each time."""
    for _ in range(5):
        started = perf_counter()
        try:
            read()
        except UsageError as error:
            one_message(error)
        if perf_counter() - started < SLOW:
            return
    pytest.fail(f"slow: {text[:60]!r}")


def test_any_spec_is_read_or_is_a_usage_error_within_50_ms() -> None:
    texts = spec_texts(CASES // 2)
    for text in texts:
        quick(lambda text=text: parse(text), text)  # type: ignore[misc]
        quick(lambda text=text: parse_term(text), text)  # type: ignore[misc]
    read = [text for text in texts if accepted(parse, text)]
    assert 0.05 < len(read) / len(texts) < 0.8  # both kinds were tried
    for text in read:
        assert parse(str(parse(text))) == parse(text)
        assert all(accepted(parse, str(one)) for one in expanded(text)[:3])


@pytest.mark.parametrize("text", ["l1:8/1e999", "l1:1e999/8", "l1:0/" + "9" * 400, "l1:1e999", "l1:0..1e999:3"])
def test_a_number_without_end_is_refused_also_below_a_fraction(text: str) -> None:
    with pytest.raises(UsageError, match="not a finite number"):  # found by the full form: 8/inf is a finite 0
        parse(text)


def accepted(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except UsageError:
        return False
    return True


def expanded(text: str) -> list[object]:
    spec = parse(text)
    return list(expand(spec)) if accepted(lambda _: expand(spec), text) else []


COMMANDS = """
import json, sys
from robustreg.cli.main import run
codes = {run(["compare", "--", text]) for text in json.load(sys.stdin)}
print(json.dumps([sorted(codes), sorted({"torch", "numpy", "scipy"} & set(sys.modules))]))
"""


def test_a_spec_that_cannot_be_read_is_exit_code_2_and_imports_no_torch() -> None:
    texts = [text for text in spec_texts(CASES // 2) if not accepted(parse, text)][: max(200, CASES // 20)]
    assert len(texts) >= 200
    done = subprocess.run([sys.executable, "-c", COMMANDS], input=json.dumps(texts), capture_output=True, text=True)
    assert json.loads(done.stdout) == [[2], []]
    assert "Traceback" not in done.stderr and "\x1b" not in done.stderr and done.stderr.count("Error: ") == len(texts)


def test_any_name_of_data_is_read_or_is_a_usage_error() -> None:
    draw, sources = random.Random(2), {source.name: source for source in datasets()}
    texts = [mutated(draw.choice(DATA), draw) for _ in range(CASES // 5)]
    for text in texts:
        quick(lambda text=text: parse_data(text, sources), text)  # type: ignore[misc]
    assert 0.05 < sum(accepted(lambda t: parse_data(t, sources), text) for text in texts) / len(texts) < 0.95


def test_any_study_file_is_read_or_is_one_message(tmp_path: Path) -> None:
    draw, file = random.Random(3), tmp_path / "study.toml"
    refused = 0
    for _ in range(CASES // 5):
        lines = STUDY.splitlines()
        if draw.random() < 0.5:
            at = draw.randint(1, len(lines) - 1)
            lines[at] = f"{lines[at].split(' =')[0]} = {draw.choice(VALUES)}"
            text = "\n".join(lines)
        else:
            text = mutated(STUDY, draw)
        content = text.encode(errors="surrogatepass")
        if draw.random() < 0.1:
            content = content[: draw.randint(0, len(content))] + draw.randbytes(3)
        file.write_bytes(content)
        try:
            compare.make_context("compare", ["-f", str(file)])  # reads and converts, and runs nothing
        except UsageError as error:
            one_message(error)
            refused += 1
        except click.ClickException as error:
            one_message(error)
            assert error.exit_code == 2
            refused += 1
    assert 0.2 < refused / (CASES // 5) < 0.99


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    catalogue = rr.plugins.discover([])
    network = catalogue.get("models", "mlp").build((1, 4, 4), 3, hidden=(4,))
    path = tmp_path / "model.safetensors"
    path.write_bytes(checkpoint.to_bytes(checkpoint.weights_of(network), MANIFEST))
    return path


MANIFEST = {
    "model": "mlp:hidden=4", "data": "digits", "shape": [1, 4, 4], "classes": 3, "class_names": ["a", "b", "c"],
    "seed": 0,
    "at_inference": [{"name": "feature_squeeze"}],
}  # fmt: skip
ODD = (
    None, True, -1, 0, 1 << 70, 1.5, "", "x", "os:system", "\x1b[2J", [], [[]], [1], [1 << 40, 1 << 40], {},
    {"name": "x"},
    [{}], [{"name": "x"}], [{"name": "feature_squeeze", "x": [1]}], [{"name": "feature_squeeze", "strength": "x"}],
    "mlp:hidden=99999999999", "mlp:hidden=4,width=2", [-1, 4, 4], "resnet18",
)  # fmt: skip


def test_any_model_file_is_read_or_is_a_data_or_usage_error(model_file: Path) -> None:
    draw, whole = random.Random(4), model_file.read_bytes()
    catalogue = rr.plugins.discover([])
    checkpoint.restore(model_file, catalogue)
    tensors = checkpoint.read(model_file)[0]
    kept = 0
    for _ in range(CASES // 10):
        if draw.random() < 0.5:
            content = bytearray(whole)
            for _ in range(draw.randint(1, 8)):
                content[draw.randrange(min(len(content), draw.choice((8, 700, len(content)))))] = draw.randrange(256)
            data = bytes(content[: draw.randint(0, len(content))] if draw.random() < 0.2 else content)
        else:
            manifest: dict[str, object] = dict(MANIFEST)
            for _ in range(draw.randint(1, 3)):
                manifest[draw.choice([*MANIFEST])] = draw.choice(ODD)
            data = checkpoint.to_bytes(tensors, manifest)
        model_file.write_bytes(data)
        try:
            network = checkpoint.restore(model_file, catalogue)
        except (DataError, UsageError) as error:
            one_message(error)
        else:
            kept += 1
            assert isinstance(network, torch.nn.Module)
    assert 0 < kept < CASES // 10
