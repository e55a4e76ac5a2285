"""Faults in small numbers: what `python -m tests.faults` injects in large ones. See docs/reliability.md."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import robustreg as rr
from robustreg.cli.main import run
from robustreg.engines import LOCAL
from robustreg.errors import StoreError, UsageError
from robustreg.study import Record, Store, read_study
from robustreg.study.pages import rows_of
from robustreg.study.reading import SCHEMA, Reading
from robustreg.study.salvage import salvage
from tests.faults.crowd import crowds
from tests.faults.damage import damaged_models, damaged_stores
from tests.faults.disk import full_disk
from tests.faults.growth import growth
from tests.faults.interrupts import interrupts
from tests.faults.kills import kills
from tests.faults.nursery import Nursery
from tests.faults.outcome import Outcome
from tests.faults.plugins import bad_plugins, hanging_plugins
from tests.faults.reports import reports
from tests.faults.small import command, state
from tests.faults.soak import soak
from tests.faults.surroundings import locales, surroundings
from tests.faults.workers import worker_kills

STORES = Path(__file__).parent / "stores"
pytestmark = pytest.mark.skipif(bool(LOCAL.problem()), reason=LOCAL.problem())


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as made:
        yield made


def held(found: Outcome, count: int) -> None:
    assert not found.wrong, str(found)
    assert found.count == count


@pytest.mark.slow
def test_a_study_that_was_killed_anywhere_ends_as_if_it_had_not_been(nursery: Nursery, tmp_path: Path) -> None:
    found = kills(nursery, tmp_path, 25)
    held(found, 25)
    assert found.numbers["cut off before the end"] >= 10  # those whose point is no matter of time


@pytest.mark.slow
def test_a_killed_workers_runs_are_done_again_and_no_others(tmp_path: Path) -> None:
    held(worker_kills(tmp_path, 5), 5)


@pytest.mark.slow
def test_ctrl_c_once_or_twice_loses_nothing_and_says_so(nursery: Nursery, tmp_path: Path) -> None:
    held(interrupts(nursery, tmp_path, 8, busy=3), 11)


@pytest.mark.slow
def test_a_regularizer_that_hangs_is_ended_by_the_limit_of_its_runs(nursery: Nursery, tmp_path: Path) -> None:
    held(hanging_plugins(nursery, tmp_path, ["batch"]), 1)


def test_the_limit_of_a_run_is_kept_by_resume_unless_another_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, toml = tmp_path / "study", tmp_path / "study.toml"
    toml.write_text("run-seconds = 50\n")
    assert run([*command(study, arms=["none"]), "-f", str(toml)]) == 0
    assert "50 s a run is not heeded" in capsys.readouterr().err  # by the engine that was asked for: serial
    again = ["resume", str(study), "--engine", "serial", "--no-figures"]
    for more, wanted in ([], 50), (["--run-seconds", "2.5"], 2.5), ([], 2.5), (["--run-seconds", "0"], 0), ([], 0):
        before = state(study)
        assert run([*again, *more]) == 0 and state(study) == before  # no run is another for it
        assert (read_study(study).request or {})["run_seconds"] == wanted
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="run_seconds"):
            rr.compare("none", data="digits:train=40,val=20,test=20", run_seconds=wrong)
    assert run([*again, "--run-seconds", "-1"]) == 2


@pytest.mark.slow
def test_of_several_coordinators_one_works_and_the_others_say_so(nursery: Nursery, tmp_path: Path) -> None:
    found = crowds(nursery, tmp_path, 2)
    held(found, 2)
    assert found.numbers["commands that were told who works on it"] >= 1


@pytest.mark.slow
def test_clocks_folders_names_and_terminals_are_taken_as_they_are(nursery: Nursery, tmp_path: Path) -> None:
    held(surroundings(nursery, tmp_path, short=True), 14)


@pytest.mark.slow
def test_a_terminal_without_signs_and_closed_streams_stop_nothing(tmp_path: Path) -> None:
    held(locales(tmp_path, ["LANG=C, nothing but ASCII"]), 2)


@pytest.mark.slow
def test_a_report_can_be_made_of_nothing(tmp_path: Path) -> None:
    held(reports(tmp_path, ["no arm", "all failed", "all diverged", "nothing done"]), 4)


@pytest.mark.slow
def test_a_damaged_database_is_refused_or_gives_the_same_results(nursery: Nursery, tmp_path: Path) -> None:
    found = damaged_stores(nursery, tmp_path, 8)
    held(found, 8)
    assert found.numbers["refused"] >= 2  # no database at all, and one of a newer version
    assert found.numbers["salvaged"] >= 1


@pytest.mark.slow
def test_a_damaged_model_is_never_believed(nursery: Nursery, tmp_path: Path) -> None:
    held(damaged_models(nursery, tmp_path, 4), 4)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(nursery: Nursery, tmp_path: Path) -> None:
    held(full_disk(nursery, tmp_path, 3), 3)


@pytest.mark.slow
def test_a_bad_regularizer_spoils_no_other_arm(nursery: Nursery, tmp_path: Path) -> None:
    held(bad_plugins(nursery, tmp_path, short=True), 9)


@pytest.mark.slow
def test_a_process_does_not_grow_with_its_studies(tmp_path: Path) -> None:
    held(soak(tmp_path, 200), 200)


def test_the_time_of_a_study_grows_as_its_runs(tmp_path: Path) -> None:
    held(growth(tmp_path, (100, 300, 1000), figures=False), 3)


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_a_store_of_every_older_schema_opens_and_is_copied_before_it_is_changed(schema: int, tmp_path: Path) -> None:
    study = Path(shutil.copytree(STORES / f"schema-{schema}", tmp_path / "study"))
    before = (study / "study.db").read_bytes()
    with closing(sqlite3.connect(study / "study.db")) as db:
        written = dict(db.execute("SELECT id, record FROM runs"))
    with Reading(study) as found:
        assert {row.id for row in found.rows()} == written.keys()
    assert (study / "study.db").read_bytes() == before
    with Store(study) as store:
        assert {name: store.sound(name) for name in written} == {
            name: Record.from_json(text) for name, text in written.items()
        }
        assert store.tested("{}") == 1 and store.version == SCHEMA and not store.damage()
    with closing(sqlite3.connect(study / f"study.db.schema-{schema}")) as db:
        assert dict(db.execute("SELECT id, record FROM runs")) == written
        assert db.execute("PRAGMA user_version").fetchone() == (schema,)
    assert salvage(study).saved == 0  # and nothing is damaged


def test_only_what_is_damaged_and_nobodys_is_salvaged(tmp_path: Path) -> None:
    study = tmp_path / "study"
    with Store(study) as store:
        for name in "abc":
            store.put(Record(name, "none", 0, "true"), name.encode())
        with store.coordinated(), pytest.raises(StoreError, match="being worked on by process"):
            salvage(study)
    assert salvage(study).saved == 0 and salvage(study).aside is None
    with closing(sqlite3.connect(study / "study.db")) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    with pytest.raises(StoreError, match="newer robustreg"):
        salvage(study)
    with closing(sqlite3.connect(study / "study.db")) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA}")
    (study / "models" / "b.safetensors").write_bytes(b"another")
    (study / "study.db").rename(study / "study.db.damaged-1")  # as if it had been killed there
    found = salvage(study)
    assert (found.saved, found.aside) == (2, None)
    with Store(study) as store:
        assert [store.sound(name) is not None for name in "abc"] == [True, False, True]
    (study / "study.db").write_bytes(b"\0" * 5000)
    found = salvage(study)
    assert found.saved == 2 and found.aside == study / "study.db.damaged-2" and "damaged" in found.damage
    assert salvage(study).saved == 0


@pytest.mark.parametrize("journal", [False, True])
def test_rows_are_read_from_the_bytes_of_a_database_as_sqlite_reads_them(journal: bool, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA journal_mode={'WAL' if journal else 'DELETE'}")
        db.execute("CREATE TABLE t (a TEXT PRIMARY KEY, b REAL, c TEXT, d INTEGER, e BLOB)")
        draw = random.Random(0)
        for at in range(120):
            text = "".join(draw.choices("abcé漢\n", k=draw.choice([0, 1, 50, 3000, 4060, 5000, 9000, 30_000])))
            whole = draw.choice([None, 0, 1, -1, 127, -129, 2**15, 2**23, -(2**31), 2**40, 2**62, -(2**63)])
            values = (str(at), draw.choice([0.0, 1.0, 0.1, -2.5e300]), text, whole, draw.randbytes(at))
            db.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", values)
        wanted = db.execute("SELECT * FROM t").fetchall()
        log = path.with_name("study.db-wal")
        found = {
            row[0]: row for row in rows_of(path.read_bytes(), log.read_bytes() if journal else b"") if len(row) == 5
        }
    assert found.keys() >= {row[0] for row in wanted}
    assert [found[row[0]] for row in wanted] == wanted
