"""Attacks by whoever wrote a file, a name or a plugin, and what becomes of them; docs/security.md lists them all."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import robustreg as rr
from robustreg import checkpoint
from robustreg.cli.main import run
from robustreg.cli.output import console, say
from robustreg.data import archive as archives
from robustreg.data.archive import unpack
from robustreg.data.download import fetch
from robustreg.data.images import image_files
from robustreg.data.pickles import load_arrays
from robustreg.errors import DataError, UsageError, shown
from robustreg.plugins import discover
from robustreg.report import sheets

ROOT = Path(rr.__file__).parent
PAGE = ROOT.parent / "docs" / "security.md"

ESCAPES = ("\x1b[2J", "\x1b]8;;http://x\x07", "\x9b31m", "\x07", "\r", "\x08", "\u202e", "\u2028", "\ud800", "\0")


class Harm:
    """A pickle that makes a folder when it is read by Python's own reader."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


# Model files


def test_only_safetensors_are_written() -> None:
    calls = re.compile(r"torch\.save\(|pickle\.dumps?\(|np\.savez?\(|joblib|torch\.export")
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if calls.search(path.read_text())}
    # A pipe to a child; a state kept in memory; a study on its way to a worker that the coordinator started.
    assert found <= {"engines/worker.py", "testing/laws.py", "study/parcel.py"}
    data = checkpoint.to_bytes(checkpoint.weights_of(linear()), {})
    assert data[8:9] == b"{" and not checkpoint.is_pickle(data)


def test_nothing_is_unpickled_but_through_the_allow_list_and_by_torch_with_weights_only() -> None:
    for path in ROOT.rglob("*.py"):
        text, name = path.read_text(), path.relative_to(ROOT).as_posix()
        for call in re.findall(r"torch\.load\(.*", text):
            assert "weights_only=True" in call, path
        if re.search(r"pickle\.(loads?|Unpickler)\b", text):
            assert name in ("data/pickles.py", "engines/worker.py", "study/parcel.py"), path
        assert "allow_pickle=True" not in text and not re.search(
            r"(?<![.\w])(eval|exec)\(|os\.system|shell=True", text
        ), path


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.bin", "net.safetensors", "net"])
@pytest.mark.parametrize("old", [False, True], ids=["zip", "pickle"])
def test_what_torch_saved_is_read_only_when_asked_whatever_it_is_called(tmp_path: Path, name: str, old: bool) -> None:
    network, path = linear(), tmp_path / name
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=not old)
    fresh = linear()
    with pytest.raises(DataError, match="--allow-pt"):
        checkpoint.load_into(fresh, path, "net")
    checkpoint.load_into(fresh, path, "net", allow_pt=True)
    assert torch.equal(fresh[1].weight, network[1].weight)  # type: ignore[index]


def test_a_pickle_that_runs_code_does_not_with_the_option_either(tmp_path: Path) -> None:
    for old in (False, True):
        torch.save({"x": Harm(tmp_path / "harmed")}, tmp_path / "net.pt", _use_new_zipfile_serialization=not old)
        for asked in (False, True):
            with pytest.raises(DataError, match="weights_only=True" if asked else "--allow-pt"):
                checkpoint.load_into(linear(), tmp_path / "net.pt", "net", allow_pt=asked)
        assert not (tmp_path / "harmed").exists()
    torch.load(tmp_path / "net.pt", weights_only=False)
    assert (tmp_path / "harmed").exists()  # it would have


def test_a_compressed_pt_file_is_not_unpacked(tmp_path: Path) -> None:
    torch.save(linear().state_dict(), tmp_path / "net.pt")
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(tmp_path / "net.pt") as whole, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made:
        for member in whole.infolist():
            made.writestr(member.filename, whole.read(member))
    with pytest.raises(DataError, match="it is compressed"):
        checkpoint.load_into(linear(), bomb, "net", allow_pt=True)


def test_a_state_with_odd_keys_or_values_is_refused(tmp_path: Path) -> None:
    for state in ({1: torch.zeros(1)}, {"x": "y"}, [torch.zeros(1)], {"state_dict": 3}):
        torch.save(state, tmp_path / "net.pt")
        with pytest.raises(DataError, match="holds no state_dict"):
            checkpoint.load_into(linear(), tmp_path / "net.pt", "net", allow_pt=True)


def model_file(path: Path, **manifest: Any) -> Path:
    network = discover([]).get("models", "mlp").build((1, 2, 2), 2, hidden=(3,))
    about = {"model": "mlp:hidden=3", "shape": [1, 2, 2], "classes": 2, **manifest}
    path.write_bytes(checkpoint.to_bytes(checkpoint.weights_of(network), about))
    return path


@pytest.mark.parametrize("name", ["harmful:net", "harmful.sub:net", "./harmful:net", "harmful"])
def test_a_manifest_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harmful.py").write_text("import os\nos.mkdir('harmed')\n")
    for around in ({"model": name}, {"at_inference": [{"name": name}]}):
        with pytest.raises((UsageError, DataError)):
            checkpoint.restore(model_file(tmp_path / "m.safetensors", **around), discover([]))
    assert not (tmp_path / "harmed").exists() and "harmful" not in sys.modules


@pytest.mark.parametrize(
    "around",
    [
        5, "x", [5], [{}], [{"name": 3}], [{"name": "l1"}], [{"name": "os"}],
        [{"name": "feature_squeeze", "no_knob": 1}],
        [{"name": "feature_squeeze", "strength": {"a": 1}}], [{"name": "feature_squeeze"}] * 101,
    ],
)  # fmt: skip
def test_at_inference_names_only_installed_regularizers_that_compute_then(tmp_path: Path, around: Any) -> None:
    with pytest.raises((UsageError, DataError)):
        checkpoint.restore(model_file(tmp_path / "m.safetensors", at_inference=around), discover([]))


@pytest.mark.parametrize(
    "manifest",
    [
        {"shape": "abc"}, {"shape": [1 << 40] * 3}, {"shape": [-1, 2, 2]}, {"classes": "x"}, {"classes": 1 << 62},
        {"seed": "x"}, {"data": ["digits"]}, {"class_names": [1, 2]}, {"model": ["mlp"]},
    ],
)  # fmt: skip
def test_a_manifest_of_the_wrong_kind_is_a_data_error_that_names_the_entry(tmp_path: Path, manifest: Any) -> None:
    with pytest.raises(DataError, match=next(iter(manifest))):
        checkpoint.read(model_file(tmp_path / "m.safetensors", **manifest))


def test_a_small_file_that_names_a_huge_network_is_refused_before_it_is_built(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for name, says in (
        ("mlp:hidden=1000000,1000000", "the network that it names has 1,00"),  # 4 TB of weights
        ("mlp:width=1,depth=1000000", "many more layers"),
        ("mlp:width=1,depth=100000000000", "a larger network"),
    ):
        with pytest.raises(DataError, match=says):
            checkpoint.restore(model_file(path, model=name), discover([]))


def test_a_model_file_leads_to_no_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = model_file(tmp_path / "m.safetensors", data=f"folder:{tmp_path}/private;rm,size=2")
    assert run(["evaluate", str(path)]) == 2
    said = capsys.readouterr().err
    assert f"--data 'folder:{tmp_path}/private;rm,size=2'" in said and "does not exist" not in said


def test_the_manifest_is_read_from_the_bytes_that_were_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = model_file(tmp_path / "a", seed=1)
    content = first.read_bytes()
    monkeypatch.setattr(checkpoint, "checked", lambda path, sha256=None: content)
    assert checkpoint.read(model_file(first, seed=2))[1]["seed"] == 1


# Data files


def test_a_pickle_of_the_allowed_names_cannot_make_an_array_of_addresses(tmp_path: Path) -> None:
    class Laid:
        def __reduce__(self) -> Any:
            return np.ndarray, ((1,), np.dtype("O"), b"A" * 8)

    class Told:
        """A type of objects that says it holds none."""

        def __reduce__(self) -> Any:
            return np.dtype, ("O", False, True), (3, "|", None, None, None, -1, -1, 0)

    class Numbers:
        def __init__(self, kind: str) -> None:
            self.kind = kind

        def __reduce__(self) -> Any:
            import _codecs

            return _codecs.encode, ("x", self.kind)

    file = tmp_path / "x.pickle"
    for content in (Laid(), Told(), Numbers("zip"), Numbers("idna")):
        for protocol in (0, 2, 4):
            file.write_bytes(pickle.dumps({"data": content}, protocol=protocol))
            with pytest.raises(ValueError, match="cannot be unpickled"):
                load_arrays(file)
    assert np.ndarray((1,), np.dtype("O"), b"A" * 8).shape == (1,)  # numpy itself makes it; looking at it crashes


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("kind", ["u1", "<i8", ">f4", "?"])
def test_arrays_of_numbers_come_out_as_they_were(tmp_path: Path, protocol: int, kind: str) -> None:
    file, values = tmp_path / "x.pickle", np.arange(12).astype(kind).reshape(3, 4)
    for array in (values, np.asfortranarray(values)):
        file.write_bytes(pickle.dumps({"data": array, "labels": [1, 2]}, protocol=protocol))
        found = load_arrays(file)
        assert found["data"].dtype == array.dtype and np.array_equal(found["data"], array) and found["labels"] == [1, 2]


def test_postscript_under_the_name_of_an_image_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **how: started.append(args))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "EPS"  # Pillow itself would go on
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        image_files([tmp_path / "a.png"])
    assert not started


def tar_with_header(path: Path, size: int, compress: Any) -> None:
    """A tar archive whose first member's name is `size` bytes: tarfile would keep all of it in memory."""
    text = io.BytesIO()
    with tarfile.open(fileobj=text, mode="w", format=tarfile.PAX_FORMAT) as made:
        member = tarfile.TarInfo("a")
        member.pax_headers = {"comment": "x" * size}
        made.addfile(member)
    path.write_bytes(compress(text.getvalue()))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress], ids=["plain", "gz", "bz2"])
def test_a_tar_header_made_to_fill_the_memory_refuses_the_archive(tmp_path: Path, compress: Any) -> None:
    tar_with_header(tmp_path / "small.tar", 1000, compress)
    assert [path.name for path in unpack(tmp_path / "small.tar", tmp_path / "small").iterdir()] == ["a"]
    tar_with_header(tmp_path / "large.tar", 2 << 20, compress)
    with pytest.raises(DataError):
        unpack(tmp_path / "large.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tar_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_PADDING", 1 << 16)
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        made.addfile(tarfile.TarInfo("a"))
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write((tmp_path / "a.tar").read_bytes() + bytes(1 << 20))
    with pytest.raises(DataError, match="much follows"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_python_unpacks_in_one_go_is_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as made:
        made.writestr("a", bytes(1 << 20))
    with pytest.raises(DataError, match="uncommon way"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Compressed:
    """A server's answer that would unpack to any size."""

    headers = {"Content-Encoding": "gzip, gzip"}  # noqa: RUF012

    def __enter__(self) -> Compressed:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def raise_for_status(self) -> None: ...

    def iter_content(self, size: int) -> Any:
        pytest.fail("it is unpacked")


def test_a_compressed_answer_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = pytest.importorskip("requests")
    monkeypatch.setattr(requests.Session, "get", lambda *args, **how: Compressed())
    with pytest.raises(DataError, match="not asked for"):
        fetch("https://example.org/x", known_hash=None, to=tmp_path / "x", max_bytes=10)
    assert not list(tmp_path.iterdir())


# Plugins


def entry(name: str) -> metadata.EntryPoint:
    return metadata.EntryPoint(name=name, value="harmful_plugin", group="robustreg")


@pytest.mark.parametrize(("listed", "runs"), [("", False), ("other", False), ("harm", True), (None, True)])
def test_an_installed_plugin_that_is_not_listed_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str | None, runs: bool
) -> None:
    (tmp_path / "harmful_plugin.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'harmed')!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "harmful_plugin", raising=False)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry("harm")])
    if listed is None:
        monkeypatch.delenv("ROBUSTREG_PLUGINS", raising=False)
    else:
        monkeypatch.setenv("ROBUSTREG_PLUGINS", listed)
    discover()
    assert (tmp_path / "harmed").exists() == runs
    monkeypatch.delitem(sys.modules, "harmful_plugin", raising=False)


def hostile_plugin() -> ModuleType:
    module = ModuleType("hostile")

    @rr.hookimpl
    def commands(group: Any) -> None:
        raise SystemExit(f"{''.join(ESCAPES[:-2])}[red]gone[/x]")

    module.commands = commands  # type: ignore[attr-defined]
    return module


def test_a_plugin_that_exits_while_adding_commands_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "harmful_plugin", hostile_plugin())
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry("harm\x1b[2J")])
    assert run(["no-such-command"]) == 2
    said = capsys.readouterr().err
    assert "commands() failed: SystemExit" in said and "[red]gone[/x]" in said and harmless(said)


# What is shown


def harmless(text: str) -> bool:
    return not any(escape[0] in text for escape in ESCAPES)


@pytest.mark.parametrize("escape", ESCAPES)
def test_text_that_a_terminal_would_obey_is_shown(escape: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    say(f"a{escape}b")
    out = console()
    table = Table("x", title=f"t{escape}")
    table.add_row(f"c{escape}d")
    out.print(table)
    out.print(f"e{escape}f", markup=False)
    captured = capsys.readouterr()
    assert harmless(captured.out + captured.err)
    assert captured.err.startswith("a\N{REPLACEMENT CHARACTER}") and captured.err.endswith("b\n")
    assert all(letter in captured.out for letter in "cdeft")


def test_words_of_any_language_and_line_ends_are_shown_as_they_are() -> None:
    for text in ("é漢字 عربى\n  ^^^", "a\u00a0b", "ß→≥", ""):
        assert shown(text) == text


def test_styles_in_names_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    for text in ("[bold]x[/]", "[/nothing]", "[link=http://x]y[/link]", ":smile:"):
        table = Table("name", title=text)
        table.add_row(text)
        console().print(table)
        assert capsys.readouterr().out.count(text) == 2


def test_a_terminal_gets_the_colours_of_the_table_and_no_escape_of_a_name() -> None:
    from rich.console import Console
    from rich.text import Text

    file = io.StringIO()
    made = type(console())(file=file, force_terminal=True, color_system="standard", width=80)
    assert isinstance(made, Console)
    made.print(Text("\x1b[2Jname", style="red"))
    assert "\x1b[31m" in file.getvalue() and "\x1b[2J" not in file.getvalue()


def test_class_names_of_a_folder_cannot_talk_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("\x1b[2Jcat", "=dog\u202e", "[b]x"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("L", (4, 4), 20 * number + len(name)).save(tmp_path / "d" / name / f"{number}.png")
    data = f"folder:{tmp_path / 'd'}"
    assert run(["data", "info", data]) == 0
    said = capsys.readouterr()
    assert harmless(said.out + said.err) and "[b]x" in said.out
    (tmp_path / "d" / "\x1b[2Jcat" / "0.png").write_bytes(b"x")
    assert run(["data", "info", data]) == 3
    error = capsys.readouterr().err
    assert harmless(error) and "[2Jcat" in error


def test_a_path_that_is_no_text_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", f"{tmp_path}/\udcff\x1b[2J.safetensors"]) == 3
    assert harmless(capsys.readouterr().err)


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-x", "@x", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "\ufeff=1", "\0=1", "＝1"]
)
def test_no_cell_begins_a_formula_also_after_what_a_spreadsheet_skips(text: str) -> None:
    ((cell,),) = csv.reader(io.StringIO(sheets.to_csv([text], []), newline=""))
    assert cell.startswith("'") and "\0" not in cell and "\ufeff" not in cell


def test_a_sheet_holds_no_escape_sequence() -> None:
    assert harmless(sheets.to_csv(["a"], [[escape + "x"] for escape in ESCAPES if escape != "\r"]))


def test_the_verdict_file_of_a_report_holds_no_escape_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustreg.report import write

    comparison = SimpleNamespace(verdict=lambda: [f"a{escape}" for escape in ESCAPES], study={}, arms=[])
    for name in ("results_csv", "summary_csv", "to_json", "table_text", "cards_text"):
        monkeypatch.setattr(write, name, lambda *_: "")
    write.write_report(cast(Any, comparison), tmp_path, figures=False)
    text = (tmp_path / "verdict.txt").read_text(encoding="utf-8")
    assert harmless(text) and text.count("a\N{REPLACEMENT CHARACTER}") == len(ESCAPES)


def test_json_holds_no_raw_control_character() -> None:
    from robustreg.report import to_json

    text = to_json({"".join(ESCAPES): list(ESCAPES)})
    assert harmless(text) and json.loads(text)["".join(ESCAPES)] == list(ESCAPES)


# Study files


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "[" * 5000, "nested too deeply"), ("study = 3", "study must be a table"),
        ('out = "a\\u0000b"', "out must be"),
        ("[study]\nspecs = 3", "specs takes a list"), ("epochs = [1]", "epochs takes one value"),
        ("#" * (1 << 20) + "\n", "more than"),
        ("epochs = {a = 1}", "epochs must be"), ("eps = [true]", "list of numbers"),
        ("measures = [1]", "list of names"),
        ("eps = [1" + "0" * 400 + "]", "too large"), ("epochs = 1.5", "1.5"), ('"\\u001b[2J" = 1', "no setting"),
    ],
)  # fmt: skip
def test_a_study_file_of_nonsense_is_one_message(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text(text)
    assert run(["compare", "-f", str(tmp_path / "s.toml")]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("Error: ") == 1 and harmless(error)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_a_study_file_without_end_is_not_read_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "-f", "/dev/zero"]) == 2
    assert "more than" in capsys.readouterr().err


# The page


def test_the_page_names_tests_and_places_that_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    named = re.findall(r"`(test_[a-z0-9_]+)`", text)
    assert len(named) > 30
    assert [
        name for name in named if f"def {name}(" not in tests and not (Path(__file__).parent / f"{name}.py").exists()
    ] == []
    places = re.findall(r"`([a-z_]+/?[a-z_]*)\.([A-Za-z_]+)`", text)
    for place, word in places:
        assert word in (ROOT / f"{place}.py").read_text(encoding="utf-8"), (place, word)
