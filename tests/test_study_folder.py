"""A study's folder: finished after a kill, told about from outside, reported from itself alone, and verified."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import robustreg as rr
from robustreg.cli.main import run
from robustreg.errors import StoreError
from robustreg.report import to_json
from robustreg.study import Record, Store, read_study, status_of
from robustreg.study.lock import Holder, start_of
from robustreg.study.reading import Reading, row_hash
from robustreg.study.rebuild import rebuild

# The protocol has stacks, so what is trained again has to be trained in one, too.
SPECS = ["none", "l2:1e-3", "dropout:0.5"]
OPTIONS = [
    *("--data", "digits:train=120,val=40,test=60", "--model", "mlp:hidden=16", "--seeds", "3", "--epochs", "6"),
    *("--label-noise", "0.5", "--protocol", "standard", "--measures", "clean_accuracy,memorized_fraction"),
]
COMPARE = ["compare", *SPECS, *OPTIONS, "--no-figures", "--engine", "serial"]
HOW = ("seconds", "cohort", "training_seconds", "trust_seconds")  # how it was done; all else is what came out


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "study"
    assert run([*COMPARE, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def study(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "study"))


def robustreg(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "robustreg", *map(str, arguments)], capture_output=True, text=True)


def document(capsys, *arguments: object) -> tuple[int, dict]:
    capsys.readouterr()
    code = run([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def change(folder: Path, edit) -> None:
    found = json.loads((folder / "study.json").read_text())
    edit(found)
    (folder / "study.json").write_text(json.dumps(found))


def sql(folder: Path, *statement) -> list:
    with sqlite3.connect(folder / "study.db", isolation_level=None) as db:
        found = db.execute(*statement).fetchall()
    db.close()
    return found


def results(folder: Path) -> dict:
    def strip(value):
        if isinstance(value, dict):
            return {key: strip(each) for key, each in value.items() if key not in HOW}
        return [strip(each) for each in value] if isinstance(value, list) else value

    return strip(json.loads((folder / "results.json").read_text()))


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def models(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "models").iterdir()}


def ended() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# A killed study -----------------------------------------------------------------------------------------------------


SLOWED = """
import sys, time
from robustreg.cli.main import run
from robustreg.study import Store
put = Store.put
def slowly(self, record, model):
    put(self, record, model)
    time.sleep(0.1)
Store.put = slowly
sys.exit(run(sys.argv[1:]))
"""


def finished(folder: Path) -> int:
    try:
        return status_of(folder).ok
    except (rr.errors.RobustregError, OSError):
        return 0


def stop(process: subprocess.Popen, folder: Path) -> None:
    """Stop a coordinator where it writes nothing, so that others need not wait for what it would have finished."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        db = sqlite3.connect(folder / "study.db", timeout=0, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
            return
        except sqlite3.OperationalError:
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.02)
        finally:
            db.close()


def test_a_study_that_is_killed_is_told_about_guarded_and_finished_with_the_same_results(whole, tmp_path, capsys):
    folder = tmp_path / "cut"
    process = subprocess.Popen([sys.executable, "-c", SLOWED, *COMPARE, "--out", str(folder)], stderr=subprocess.PIPE)
    try:
        while finished(folder) < 4:
            assert process.poll() is None, "the study was over before it could be killed"
            time.sleep(0.01)
        told = json.loads(robustreg("status", folder, "--json").stdout)
        assert told["running"] is True and told["coordinator"]["pid"] == process.pid and told["runs"] == 18
        assert told["ok"] + told["left"] == 18 and told["left"] > 0 and told["seconds_left"] > 0
        assert abs(told["coordinator"]["since"] - time.time()) < 60

        stop(process, folder)
        before = files(folder)
        code, refused = document(capsys, "resume", folder)
        assert code == 5 and f"process {process.pid} on " in refused["error"]["message"]
        assert " since 20" in refused["error"]["message"]
        again = robustreg(*COMPARE, "--out", folder)
        assert again.returncode == 5 and f"process {process.pid} on " in again.stderr, again.stderr
        code, partial = document(capsys, "report", folder, "--no-figures", "--out", tmp_path / "meanwhile")
        assert code == 0 and partial["study"]["unfinished"]["missing"] > 0
        changed = {name for name, value in files(folder).items() if before.get(name) != value}
        assert not {name for name in changed if not name.endswith("-shm")}  # SQLite's shared memory
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
    code, told = document(capsys, "status", folder)
    assert code == 0 and told["running"] is False and told["coordinator"]["pid"] == process.pid
    assert 0 < told["ok"] < 18 and told["left"] == 18 - told["ok"] and told["seconds_left"] is None
    assert run(["status", str(folder)]) == 0
    assert f"robustreg resume {folder}" in capsys.readouterr().out

    times = {row.id: row.finished for row in rows(folder)}
    assert run(["resume", str(folder), "--engine", "local:workers=2", "--no-figures"]) == 0
    after = {row.id: row.finished for row in rows(folder)}
    assert len(after) == 18 and {key: after[key] for key in times} == times
    assert results(folder) == results(whole) and models(folder) == models(whole)
    assert not list(folder.rglob("*.partial"))
    assert status_of(folder).holder is None


def rows(folder: Path) -> list:
    with Reading(folder) as store:
        return store.rows()


# The lock -----------------------------------------------------------------------------------------------------------


def hold(folder: Path, **values: object) -> None:
    me = Holder.me()
    found = {"pid": me.pid, "host": me.host, "started": me.started, "since": 1e9} | values
    sql(folder, "INSERT INTO coordinator VALUES (1, :pid, :host, :started, :since)", found)


def test_the_lock_of_a_process_that_is_gone_is_taken_over(study):
    hold(study, pid=ended())
    assert status_of(study).running is False
    with Store(study) as store, store.coordinated():
        assert store.holder() is not None and store.holder().pid == os.getpid()
    assert status_of(study).holder is None


def test_the_lock_of_a_process_whose_number_another_one_has_now_is_taken_over(study):
    hold(study, started="another start")
    assert status_of(study).running is False
    with Store(study) as store, store.coordinated():
        pass


def test_the_lock_of_a_living_process_is_respected_and_kept(study, capsys):
    hold(study)
    for command in (["resume", study, "--no-figures"], ["resume", study, "--no-figures", "--take-over"]):
        code, said = document(capsys, *command)
        assert code == 5 and f"process {os.getpid()} on" in said["error"]["message"]
        assert "since 2001-09-" in said["error"]["message"]
    assert status_of(study).running is True


def test_the_lock_of_another_machine_is_taken_over_only_when_told_so(study, capsys):
    hold(study, host="no-such-machine.invalid")
    assert status_of(study).running is None
    code, said = document(capsys, "resume", study, "--no-figures")
    assert code == 5 and "no-such-machine.invalid" in said["error"]["message"]
    assert "--take-over" in said["error"]["message"]
    assert document(capsys, "resume", study, "--no-figures", "--take-over")[0] == 0
    assert status_of(study).holder is None


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="process namespaces are a matter of Linux")
def test_a_holder_in_another_container_of_this_machine_cannot_be_asked(study, capsys):
    boot, processes, began = Holder.me().started.split()
    hold(study, started=f"{boot} {processes}9 {began}")
    assert status_of(study).running is None
    code, said = document(capsys, "resume", study, "--no-figures")
    assert code == 5 and "--take-over" in said["error"]["message"]


def test_the_start_of_a_process_tells_it_from_all_others():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert start_of(child.pid) == start_of(child.pid) is not None
        assert start_of(child.pid) != start_of(os.getpid())
        child.kill()
        deadline = time.monotonic() + 10
        while start_of(child.pid) is not None and time.monotonic() < deadline:  # a zombie counts as gone
            time.sleep(0.01)
        assert start_of(child.pid) is None
    finally:
        child.kill()
        child.wait()
        child.stdin.close()


def test_of_many_coordinators_at_once_one_holds_the_study(tmp_path):
    code = """
import sys, time
from robustreg.errors import StoreError
from robustreg.study.store import Store
print("ready", flush=True)
sys.stdin.readline()
try:
    with Store(sys.argv[1]) as store, store.coordinated():
        time.sleep(2)
        print("held")
except StoreError as error:
    print(error)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "new")], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]  # fmt: skip
    assert all(process.stdout.readline() == "ready\n" for process in processes)
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0].strip() for process in processes]
    assert said.count("held") == 1 and sum("is being worked on by process" in text for text in said) == 5, said


# Reports ------------------------------------------------------------------------------------------------------------


def test_a_report_is_rebuilt_byte_for_byte_without_data_or_plugins(study, monkeypatch, capsys):
    from robustreg import plugins
    from robustreg.data import sources

    def never(*arguments, **options):
        raise AssertionError("a report needs neither data nor plugins")

    monkeypatch.setattr(plugins, "discover", never)
    monkeypatch.setattr(sources, "load_dataset", never)
    names = ["results.json", "results.csv", "summary.csv", "verdict.txt"]
    before = {name: (study / name).read_bytes() for name in names}
    for name in names:
        (study / name).unlink()
    code, said = document(capsys, "report", study, "--no-figures")
    assert code == 0 and before == {name: (study / name).read_bytes() for name in names}
    assert said == json.loads(before["results.json"])


def test_the_report_of_an_unfinished_study_says_how_much_is_missing(study, capsys):
    lost = rows(study)[-5:]
    for row in lost:
        sql(study, "DELETE FROM runs WHERE id = ?", (row.id,))
    assert run(["report", str(study), "--no-figures"]) == 0
    out, err = capsys.readouterr()
    assert "Unfinished: 5 of 18 runs are missing" in out and f"robustreg resume {study}" in err
    assert json.loads((study / "results.json").read_text())["study"]["unfinished"]["missing"] == 5
    assert status_of(study).left == 5 and status_of(study).ok == 13


def test_a_damaged_row_is_never_reported_and_is_trained_again(study, whole, capsys):
    name = rows(study)[3].id
    (text,) = sql(study, "SELECT record FROM runs WHERE id = ?", (name,))[0]
    record = json.loads(text)
    record["measures"]["clean_accuracy"] = 1.0
    sql(study, "UPDATE runs SET record = ? WHERE id = ?", (json.dumps(record), name))
    found = rebuild(study)
    assert found.study["unfinished"] == {"runs": 18, "missing": 1, "damaged": 1}
    assert name not in {record.id for record in found.records}
    assert run(["resume", str(study), "--no-figures"]) == 0
    assert results(study) == results(whole)


def test_a_failed_run_is_counted_and_tried_again(study, whole):
    with Store(study) as store:
        record = store.get(rows(study)[0].id)
        record.status, record.reason, record.measures, record.model_sha256 = "failed", "it was cold", {}, ""
        store.put(record, b"")
    assert (status_of(study).failed, status_of(study).ok, status_of(study).left) == (1, 17, 0)
    assert run(["resume", str(study), "--no-figures"]) == 0
    assert results(study) == results(whole)


def test_the_time_that_is_left_follows_the_pace_of_this_coordinator(study):
    lost = rows(study)
    now = time.time()
    hold(study, since=now - 60)
    sql(study, "UPDATE runs SET finished = ?", (now - 1000,))  # an earlier session, however quick, says nothing
    for row in lost[:6]:
        sql(study, "DELETE FROM runs WHERE id = ?", (row.id,))
    assert status_of(study).seconds_left is None
    for row in lost[6:9]:
        sql(study, "UPDATE runs SET finished = ? WHERE id = ?", (now - 5, row.id))
    assert status_of(study).seconds_left == pytest.approx(60 / 3 * 6, rel=0.05)


# Verifying ----------------------------------------------------------------------------------------------------------


def test_a_sound_study_is_verified_by_training_runs_again_and_nothing_is_written(study, capsys):
    before = files(study)
    code, said = document(capsys, "verify", study, "--runs", "3")
    assert code == 0 and said["sound"] and said["rows"] == said["models"] == 18 and not said["problems"]
    assert len({each["id"] for each in said["retrained"]}) == 3
    assert all(each["differs"] == "" for each in said["retrained"])
    assert files(study) == before
    others = document(capsys, "verify", study, "--runs", "3", "--draw", "1")[1]
    assert others["retrained"] != said["retrained"]


def test_verify_finds_a_flipped_byte_and_a_changed_row(study, capsys):
    first, second = rows(study)[:2]
    path = study / "models" / f"{first.id}.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    sql(study, 'UPDATE runs SET record = replace(record, \'"arm": "\', \'"arm": "x\') WHERE id = ?', (second.id,))
    code, said = document(capsys, "verify", study, "--runs", "0")
    assert code == 5 and not said["sound"] and len(said["problems"]) == 2
    assert any(first.id in text and "changed" in text for text in said["problems"])
    assert any(second.id in text and "checksum" in text for text in said["problems"])


def test_verify_finds_weights_that_were_replaced_with_their_checksums(study, capsys):
    from robustreg import checkpoint
    from robustreg.study.verify import _drawn

    chosen = _drawn(read_study(study).runs, 1, 0)[0][-1]
    with Store(study) as store:
        record = store.get(chosen)
        weights, manifest = checkpoint.read(store.model_path(chosen))
        name = next(iter(weights))
        weights[name].view(-1)[0] += 1e-6
        store.put(record, checkpoint.to_bytes(weights, manifest))
    assert document(capsys, "verify", study, "--runs", "0")[0] == 0
    code, said = document(capsys, "verify", study, "--runs", "1")
    assert code == 5 and said["retrained"][0]["id"] == chosen
    assert f"1 of {len(weights)} tensors differ" in said["retrained"][0]["differs"]


# Other versions, strangers, and what cannot be said in text ---------------------------------------------------------


def test_a_study_of_other_versions_says_which_and_is_trained_anew_only_when_told(study, whole, capsys):
    def older(found):
        found["study"]["versions"]["torch"] = "1.0"
        for each in found["runs"]:
            each[3] = f"0{each[3][1:-1]}z"

    change(study, older)
    code, said = document(capsys, "resume", study, "--no-figures")
    assert code == 5 and "torch was 1.0 and is " in said["error"]["message"] and "--again" in said["error"]["message"]
    code, said = document(capsys, "verify", study)
    assert code == 0 and not said["retrained"]  # none of its runs is there
    code, said = document(capsys, "resume", study, "--again", "--no-figures")
    assert code == 0 and results(study) == results(whole)
    assert read_study(study).study["versions"]["torch"] != "1.0"


def test_other_data_under_the_same_name_are_found_out(study, capsys):
    code, said = document(capsys, "resume", study, "--data", "digits:train=121,val=40,test=60")
    assert code == 5 and "the data: its images, labels or splits" in said["error"]["message"]


@pytest.mark.parametrize("data", ["folder:/etc", "folder:images", "cifar10:path=secret", "digits:/etc", "x:y=../z"])
def test_data_outside_a_strangers_folder_are_not_opened_unless_named_again(study, data, capsys, monkeypatch):
    from robustreg.study import planning

    monkeypatch.setattr(planning, "load_dataset", lambda *a, **k: pytest.fail("it was opened"))
    change(study, lambda found: found["request"].update(data=data))
    for command in ("resume", "verify"):
        code, said = document(capsys, command, study)
        assert code == 2 and f"--data {data}" in said["error"]["message"]


def test_code_in_a_strangers_folder_is_not_imported_unless_named_again(study, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("strange_code.py").write_text(
        "import robustreg as rr\nfrom pathlib import Path\nPath('ran').touch()\n"
        "def net(shape, classes):\n    return rr.models.mlp(shape, classes, hidden=16)\n"
    )
    change(study, lambda found: found["request"].update(model="strange_code:net"))
    for command in ("resume", "verify"):
        code, said = document(capsys, command, study)
        assert code == 2 and "--model strange_code:net" in said["error"]["message"]
    assert document(capsys, "report", study, "--no-figures")[0] == 0 and document(capsys, "status", study)[0] == 0
    assert not Path("ran").exists() and "strange_code" not in sys.modules
    document(capsys, "verify", study, "--model", "strange_code:net")
    assert Path("ran").exists()


def test_identities_and_links_do_not_lead_out_of_the_folder(study, tmp_path, capsys):
    with Store(study) as store:
        for identity in ("../../x", "/etc/passwd", "a/b", "", "."):
            with pytest.raises(StoreError, match="no identity"):
                store.model_path(identity)
            with pytest.raises(StoreError, match="no identity"):
                store.put(Record(identity, "none", 0, "true"), b"model")
    outside = tmp_path / "outside"
    shutil.move(study / "models", outside)
    (study / "models").symlink_to(outside)
    before = files(outside)
    for command in ("status", "report", "verify", "resume"):
        code, said = document(capsys, command, study)
        assert code == 5 and "link to a place outside" in said["error"]["message"]
    assert files(outside) == before


def test_a_coordinator_that_fails_at_its_begin_does_not_keep_the_study_to_itself(study, monkeypatch):
    (study / "checkpoints").mkdir(exist_ok=True)
    (study / "checkpoints" / f"{read_study(study).runs[0][-1]}.safetensors").touch()

    def refuse(path, **how):
        raise PermissionError(13, "Permission denied")

    with Store(study) as store:
        monkeypatch.setattr(Path, "unlink", refuse)
        with pytest.raises(StoreError, match="Permission denied"), store.coordinated():
            pass
        assert store.holder() is None


def test_what_a_strangers_store_says_of_times_and_processes_need_not_make_sense(study, capsys):
    (study / f"study.json.{10**30}.partial").touch()
    with sqlite3.connect(study / "study.db") as store:
        store.execute("UPDATE runs SET finished = 'soon'")
        store.execute("INSERT INTO coordinator VALUES (1, '../x', 'here', 'once', 'never')")
    store.close()
    code, said = document(capsys, "status", study)
    assert code == 0 and said["coordinator"] is None and said["ok"] == said["runs"]
    assert document(capsys, "verify", study, "--runs", "0")[0] == document(capsys, "resume", study)[0] == 0
    assert not list(study.glob("*.partial"))


def test_a_row_that_is_nested_without_end_is_damaged_also_with_a_right_checksum(study, capsys):
    deep, row = "[" * 200_000 + "]" * 200_000, rows(study)[0]
    sql(study, "UPDATE runs SET record = ?, sha256 = ? WHERE id = ?", (deep, row_hash(row.id, deep), row.id))
    code, said = document(capsys, "verify", study, "--runs", "0")
    assert code == 5 and [f"run {row.id} is damaged" in problem for problem in said["problems"]] == [True]


def test_a_model_file_that_is_a_link_is_not_followed_and_its_run_is_trained_again(study, tmp_path, capsys):
    path = min((study / "models").iterdir())
    content, outside = path.read_bytes(), tmp_path / "elsewhere"
    path.rename(outside)
    path.symlink_to(outside)
    code, said = document(capsys, "verify", study, "--runs", "0")
    assert code == 5 and [path.name in problem and "a link" in problem for problem in said["problems"]] == [True]
    outside.write_bytes(b"mine")
    assert document(capsys, "resume", study)[0] == 0
    assert not path.is_symlink() and path.read_bytes() == content and outside.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "edit",
    [
        lambda found: found.pop("runs"),
        lambda found: found["study"].pop("seeds"),
        lambda found: found["study"].update(protocol="nonsense"),
        lambda found: found["study"].update(name="a\x1b[2Jb"),
        lambda found: found["runs"][0].__setitem__(0, "another arm"),
        lambda found: found.update(arms=[1]),
        lambda found: found["request"]["recipe"].update(nonsense=1),
        lambda found: found["request"]["recipe"].update(epochs="x"),
        lambda found: found["request"]["conditions"][0].update(rate=[1]),
        lambda found: found["request"].update(device="../x"),
        lambda found: found["request"].update(eps=[10**400]),
        lambda found: found["study"].update(measures=-1),
        lambda found: found["request"].update(arms=["distillation:/etc/x"]),
    ],
)
def test_a_study_file_that_is_not_one_is_an_error_of_one_message(study, edit, capsys):
    change(study, edit)
    code, said = document(capsys, "resume", study)
    assert code in (2, 5) and "study.json" in said["error"]["message"]


def test_runs_that_are_not_those_of_the_study_file_are_not_reported(study, capsys):
    change(study, lambda found: found["measures"].pop("clean_accuracy"))
    code, said = document(capsys, "report", study)
    assert code == 5 and "is not the one of study.json" in said["error"]["message"]


def test_what_holds_no_study_and_what_is_newer_is_said(study, tmp_path, capsys):
    for command in ("status", "report", "verify", "resume"):
        assert document(capsys, command, tmp_path / "nowhere")[0] == 2
        assert not (tmp_path / "nowhere").exists()
    change(study, lambda found: found.update(format=99))
    assert document(capsys, "status", study)[0] == 5
    change(study, lambda found: found.update(format=1))
    sql(study, "PRAGMA user_version = 99")
    for command in ("status", "report", "verify", "resume"):
        code, said = document(capsys, command, study)
        assert code == 5 and "newer robustreg" in said["error"]["message"] and "update" in said["error"]["message"]
    (study / "study.json").write_text("{")
    assert document(capsys, "status", study)[0] == 5


def test_a_store_of_the_first_schema_is_read_and_added_to(study, capsys):
    sql(study, "ALTER TABLE runs DROP COLUMN status")
    sql(study, "ALTER TABLE runs DROP COLUMN sha256")
    sql(study, "DROP TABLE coordinator")
    sql(study, "PRAGMA user_version = 1")
    assert status_of(study).ok == 18
    before = (study / "results.json").read_bytes()
    assert to_json(rebuild(study)) + "\n" == before.decode()
    assert document(capsys, "resume", study, "--no-figures")[0] == 0
    assert (study / "results.json").read_bytes() == before
    assert sql(study, "PRAGMA user_version") == [(2,)]


def test_a_study_of_python_objects_is_resumed_from_python_and_says_so(tmp_path, capsys):
    class Mine(rr.Regularizer):
        """One that no plugin offers."""

        name = "mine"

    small = {"seeds": 1, "epochs": 1, "label_noise": [0], "measures": ["clean_accuracy"], "engine": "serial"}
    data = "digits:train=60,val=20,test=20"
    splits = rr.load_data(data, seed=0)
    rr.compare(["none", Mine()], data=data, out=tmp_path / "arm", **small)
    rr.compare(
        ["none"], data=lambda seed: splits, model=lambda: rr.models.mlp((1, 8, 8), 10), out=tmp_path / "a", **small
    )
    for name, says in (("arm", "its arm 'mine"), ("a", "its data was given as a Python object; its model was")):
        for command in ("resume", "verify"):
            code, said = document(capsys, command, tmp_path / name)
            assert code == 2 and says in said["error"]["message"] and "robustreg.compare(" in said["error"]["message"]
        assert document(capsys, "report", tmp_path / name, "--no-figures")[0] == 0
        assert document(capsys, "verify", tmp_path / name, "--runs", "0")[0] == 0
    rr.compare(["none", rr.regularizers.L2(1e-3)], data=data, out=tmp_path / "named", **small)
    assert document(capsys, "resume", tmp_path / "named", "--no-figures")[0] == 0


def test_an_interrupted_study_says_how_to_go_on(study, capsys, monkeypatch):
    from robustreg.study import coordinator

    def interrupt(*arguments):
        raise KeyboardInterrupt

    sql(study, "DELETE FROM runs WHERE id = ?", (rows(study)[0].id,))
    monkeypatch.setattr(coordinator, "execute", interrupt)
    assert run(["resume", str(study), "--engine", "serial"]) == 130
    assert f"robustreg resume {study}" in capsys.readouterr().err
    assert status_of(study).holder is None


def test_telling_how_far_a_study_is_imports_no_torch(study):
    code = (
        "import sys; from robustreg.cli.main import run; code = run(sys.argv[1:]); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, "status", study], stdout=subprocess.DEVNULL).returncode == 0
