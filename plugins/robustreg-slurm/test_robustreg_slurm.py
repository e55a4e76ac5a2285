"""Tasks done as jobs: what jobs find arrives whole, their deaths harm nobody else, Slurm is asked for what was wished,
and nothing of it is left behind."""

import ctypes
import errno
import hashlib
import inspect
import json
import math
import os
import pickle
import re
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from robustreg_slurm import engines
from robustreg_slurm.engine import Jobs
from robustreg_slurm.folder import HEART, Folder
from robustreg_slurm.local import Local
from robustreg_slurm.parcel import opened, sealed
from robustreg_slurm.slurm import Slurm
from robustreg_slurm.source import start
from torch import nn

import robustreg as rr
from robustreg.cli.main import cli
from robustreg.engines import Event, TimeUpError, WorkerLostError, engine_of
from robustreg.errors import DataError, DiskFullError, StoreError, UsageError
from robustreg.regularizer import Regularizer
from robustreg.spec import parse
from robustreg.study import make_plan

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # jobs cannot import what pytest has loaded from a path

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc who is alive")


def work(note: Any, what: str, *arguments: Any) -> Iterator[Any]:
    """Do what a test wants done."""
    if what == "count":
        for number in range(*arguments):
            note(number)
            yield number, os.getpid()
    elif what == "raise":
        yield "before"
        raise arguments[0]
    elif what == "kill":
        yield "before"
        yield "another"
        print(*arguments, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "sleep":
        yield os.getpid()
        time.sleep(*arguments)
    elif what == "stubborn":  # hears no signal, and lets no thread of Python do anything
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        yield os.getpid()
        ctypes.PyDLL(None).sleep(100)
    elif what == "print":
        print("printed by the work")
        os.write(1, b"written by the work\n")
        yield True
    elif what == "threads":
        import torch as late  # by a name of its own, or every job would import it

        yield late.get_num_threads(), os.environ["OMP_NUM_THREADS"]
    elif what == "linger":
        threading.Thread(target=time.sleep, args=(60,)).start()
        yield os.getpid()
    elif what == "lambda":
        yield threading.Lock()


def everything(engine: Any, tasks: int) -> dict[int, list[Event]]:
    """Return the events of so many tasks, by task."""
    found: dict[int, list[Event]] = {}
    while sum(events[-1].over for events in found.values()) < tasks:
        event = engine.wait()
        found.setdefault(event.task, []).append(event)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def soon(holds: Any, seconds: float = 10.0) -> bool:
    """Whether something comes true within some seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, a new one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def local(notes: list[Any] | None = None, **options: Any) -> Any:
    """Return an engine that starts its jobs on this machine."""
    kept = [] if notes is None else notes
    return start(work, lambda task, value: kept.append((task, value)), cluster="local", **{"jobs": 3, **options})


def test_jobs_hand_in_results_in_order_and_errors_as_they_are_and_leave_nothing(here: Path, capfd: Any) -> None:
    """What ends one task does not touch the others, and all is removed at the end."""
    notes: list[Any] = []
    engine = local(notes)
    wrong = [DataError("no such file"), ValueError("odd\nthing"), SystemExit(4)]
    counts = [engine.submit("count", 3), engine.submit("count", 3, 5)]
    raised = [engine.submit("raise", error) for error in wrong]
    odd, quiet, threads = engine.submit("lambda"), engine.submit("print"), engine.submit("threads")
    assert engine.capacity() == 3
    found = everything(engine, 8)
    assert [event.result[0] for event in found[counts[0]][:-1]] == [0, 1, 2]
    assert [event.result[0] for event in found[counts[1]][:-1]] == [3, 4]
    assert found[counts[0]][-1] == Event(counts[0], over=True)
    assert len({event.result[1] for number in counts for event in found[number][:-1]} | {os.getpid()}) == 3
    assert {number for number, _ in notes} == set(counts) and all(value < 5 for _, value in notes)
    errors = [found[number][-1].error for number in raised]
    assert all(found[number][0].result == "before" for number in raised)
    assert type(errors[0]) is DataError and str(errors[0]) == "no such file"
    assert str(errors[1]) == "ValueError in a worker process: odd thing" and "SystemExit in a worker process: 4" in str(
        errors[2]
    )
    assert "raise arguments[0]" in errors[1].__notes__[0]  # type: ignore[union-attr]
    assert "pickle" in str(found[odd][-1].error)
    assert found[quiet][0].result is True and found[threads][0].result == (1, "1")
    assert not any(isinstance(events[-1].error, WorkerLostError) for events in found.values())
    engine.close()
    engine.close()
    assert os.listdir(here) == [] and capfd.readouterr() == ("", "")


def test_what_all_jobs_share_is_written_once_and_its_checksum_travels_with_each(here: Path) -> None:
    """A job that finds other bytes does nothing with them."""
    large = os.urandom(1_000_000)
    engine: Any = start(lambda note: iter([len(large)]), lambda *_: None, cluster="local", jobs=1)
    first = engine.submit()
    assert everything(engine, 1)[first][0].result == 1_000_000
    (folder,) = (here / "robustreg-slurm").iterdir()
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    assert sizes.pop("work") > 1_000_000 and max(sizes.values()) < 20_000
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    (folder / "work").write_bytes(sealed(print))
    second = engine.submit()
    (end,) = everything(engine, 1)[second]
    assert isinstance(end.error, StoreError) and "damaged" in str(end.error)
    engine.close()


@linux
def test_a_job_that_dies_loses_nothing_it_has_handed_in_and_takes_no_other_with_it(here: Path) -> None:
    """What its log said last is told, without what a terminal would obey."""
    engine = local()
    lost, fine = engine.submit("kill", "the last\x1b[31m words"), engine.submit("count", 2)
    found = everything(engine, 2)
    assert [event.result for event in found[lost][:-1]] == ["before", "another"]
    error = found[lost][-1].error
    assert isinstance(error, WorkerLostError) and not isinstance(error, TimeUpError)
    assert str(error).endswith("the last line of its log: the last [31m words")
    assert len(found[fine]) == 3 and found[fine][-1].error is None
    engine.close()


@linux
def test_a_job_that_takes_too_long_is_ended_whatever_it_does(here: Path) -> None:
    """By the time of the task, and by that of the job."""
    engine = local()
    late = engine.submit("stubborn", seconds=1)
    pid, end = everything(engine, 1)[late]
    assert isinstance(end.error, TimeUpError) and "after 1 s" in str(end.error) and soon(lambda: gone(pid.result))
    engine.close()
    short = Jobs(work, lambda *_: None, Folder("f", "local"), lambda folder: Local(folder, minutes=0.02), jobs=1)
    late = short.submit("stubborn")
    pid, end = everything(short, 1)[late]
    assert isinstance(end.error, TimeUpError) and "0.02 minutes" in str(end.error) and soon(lambda: gone(pid.result))
    short.close()
    assert os.listdir(here) == []


@pytest.mark.parametrize("flip", [0, 31, 32, -1])
def test_a_parcel_with_a_flipped_bit_is_not_opened(flip: int) -> None:
    """Nor one that is cut short, or another than was announced."""
    parcel = bytearray(sealed({"a": [1, 2]}))
    assert opened(bytes(parcel)) == {"a": [1, 2]}
    assert opened(bytes(parcel), hashlib.sha256(parcel[32:]).hexdigest()) == {"a": [1, 2]}
    with pytest.raises(StoreError):
        opened(sealed({"a": [1, 3]}), hashlib.sha256(parcel[32:]).hexdigest())
    for end in (0, 5, len(parcel) - 1):
        with pytest.raises(StoreError):
            opened(bytes(parcel[:end]))
    parcel[flip] ^= 4
    with pytest.raises(StoreError):
        opened(bytes(parcel))


def test_a_damaged_result_ends_its_task_as_lost(here: Path) -> None:
    """It is not unpickled: what is not what a job sealed is never run."""
    engine = local()
    number = engine.submit("sleep", 60)
    assert not engine.wait().over
    desk = engine._folder.desk
    (desk / f"{number}.1").write_bytes(bytes(32) + pickle.dumps("x"))
    end = engine.wait()
    assert end.over and isinstance(end.error, WorkerLostError) and "cannot be read" in str(end.error)
    engine.close()


def test_a_task_is_over_only_when_all_its_results_have_arrived(here: Path) -> None:
    """A file system may show the files of another machine in any order."""
    engine = local()
    number = engine.submit("sleep", 60)
    assert not engine.wait().over
    desk = engine._folder.desk
    for name, value in (("over", (3, None)), ("2", "second")):
        (desk / f"{number}.{name}").write_bytes(sealed(value))
        engine._look()
    assert not engine._ready
    (desk / f"{number}.1").write_bytes(sealed("first"))
    events = everything(engine, 1)[number]
    assert [event.result for event in events] == ["first", "second", None] and events[-1].error is None
    engine.close()


@linux
def test_threads_that_the_work_leaves_keep_no_job_alive(here: Path) -> None:
    """On Slurm it would be charged for them until its time is up."""
    engine = local()
    number = engine.submit("linger")
    pid, end = everything(engine, 1)[number]
    assert end.error is None and soon(lambda: gone(pid.result))
    engine.close()


PARENT = """
import signal, sys, time
from robustreg_slurm.source import start
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what it runs beside itself
def work(note):
    import os
    yield os.getpid(), os.getppid()
    time.sleep(100)
engine = start(work, lambda *_: None, cluster="local", jobs=2)
try:
    engine.submit(), engine.submit()
    print(*engine.wait().result, *engine.wait().result, flush=True)
    engine.wait()
finally:
    if len(sys.argv) > 1:
        engine.close()
        print("closed", flush=True)
"""


@linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_job_outlives_its_coordinator_and_the_next_one_clears_up_behind_it(here: Path, how: signal.Signals) -> None:
    """Ctrl-C, twice, reaches the coordinator only, and prints one traceback: its own."""
    code = [sys.executable, "-c", PARENT, *(["close"] if how == signal.SIGINT else [])]
    pipe = subprocess.PIPE
    parent = subprocess.Popen(code, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(set(pids)) == 4 and not any(map(gone, pids))
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)
        time.sleep(0.02)
        os.killpg(parent.pid, how)
    else:
        parent.send_signal(how)
    _, errors = parent.communicate(timeout=20)
    assert soon(lambda: all(map(gone, pids)))
    if how == signal.SIGINT:
        assert errors.count("Traceback") == 1 + errors.count("During handling") and "KeyboardInterrupt" in errors
        assert os.listdir(here) == []
    else:
        assert len(os.listdir(here / "robustreg-slurm")) == 1
        stranger = here / "robustreg-slurm" / "robustreg-somebody"  # has no such file as says who coordinates
        stranger.mkdir()
        other = local(folder="robustreg-slurm")
        assert len(os.listdir(here / "robustreg-slurm")) == 2 and stranger.is_dir()
        other.close()
        assert os.listdir(here / "robustreg-slurm") == [stranger.name]


GUARD = """
import sys
from pathlib import Path
from robustreg.study.lock import Holder
from robustreg_slurm import job
job.STALE, job.LOOK = 1.0, 0.05
heart = Path(sys.argv[1])
print("begun", flush=True)
job._guard(job.Order(1, heart.parent, heart.parent, "", heart, Holder.me(), 1), False)
"""


@pytest.mark.parametrize("removed", [False, True])
def test_a_job_on_another_machine_ends_itself_when_the_heart_of_its_coordinator_stands_still(
    here: Path, removed: bool
) -> None:
    """And at once when the folder is gone; not while it beats."""
    heart = here / "heart"
    heart.touch()
    job = subprocess.Popen([sys.executable, "-c", GUARD, heart], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None and job.stdout.readline() == "begun\n"
    for _ in range(15):
        time.sleep(0.1)
        os.utime(heart)
    assert job.poll() is None
    last = time.monotonic()
    if removed:
        heart.unlink()
    assert job.wait(10) == 1 and (time.monotonic() - last >= 0.9) is not removed
    job.stdout.close()


def test_a_coordinator_elsewhere_is_swept_only_when_it_has_been_silent_for_long(here: Path) -> None:
    """One on another machine cannot be asked; the clock is that of the file system."""
    other = Folder("f", "local")
    about = json.loads((other.path / "coordinator.json").read_text())
    (other.path / "coordinator.json").write_text(json.dumps({**about, "host": "elsewhere"}))
    Folder("f", "local").remove()
    assert other.path.is_dir()
    os.utime(other.path / HEART, (0, time.time() - 4000))
    Folder("f", "local").remove()
    assert not other.path.exists()
    other.remove()


def test_a_folder_that_others_could_write_to_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in it is unpickled, so whoever can write there can run code."""
    (here / "open").mkdir()
    (here / "open").chmod(0o770)
    (here / "file").touch()
    for name, says in (("open", "chmod 700"), ("file", "is a file"), ("p%j", "stands for a number")):
        with pytest.raises(UsageError, match=says):
            local(folder=name)
    (here / "open").chmod(0o755)
    local(folder="open").close()
    (here / "other").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(UsageError, match=r"does not use .*other, which belongs to user"):
        local(folder="other")
    assert os.listdir(here / "other") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slurm:cluster=locla", "Did you mean 'local'"),
        ("slurm:cluster=local,jobs=-1", "jobs from 0"),
        ("slurm:cluster=local,minutes=0", "minutes from 1"),
        ("slurm:cluster=local,cpus=0", "cpus from 1"),
        ("slurm:cluster=local,gpus=-1", "gpus from 0"),
        ("slurm:cluster=local,memory=-1", "memory in GB"),
        ("slurm:partitoin=x", "Did you mean 'partition'"),
        ("slurm:partition=long", "sbatch, srun, squeue, scancel cannot be found"),
    ],
)
def test_what_cannot_be_is_a_usage_error_and_leaves_no_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    """Also where there is no Slurm at all."""
    monkeypatch.setenv("PATH", str(here))
    with pytest.raises(UsageError, match=says):
        engine_of(text)[1](work, lambda *_: None)
    assert os.listdir(here) == []


def test_what_cannot_be_pickled_is_a_usage_error(here: Path) -> None:
    """For the work and for arguments."""
    lock = threading.Lock()
    with pytest.raises(UsageError, match="the work cannot be sent to jobs"):
        start(lambda note: iter([lock]), lambda *_: None, cluster="local")
    engine = local()
    with pytest.raises(UsageError, match="arguments of a task"):
        engine.submit("count", lock)
    engine.close()
    assert os.listdir(here) == []


def test_the_engine_is_offered_and_finding_it_imports_neither_torch_nor_submitit() -> None:
    """A command line that names it is judged at once."""
    (source,) = engines()
    assert engine_of("slurm")[0] is source and source.problem() == ""
    code = "import sys; from robustreg.engines import engine_of; engine_of('slurm:partition=a,jobs=4,memory=1.5');"
    code += "print(*(name for name in ('torch', 'submitit') if name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize("page", ["README.md", "../../docs/cluster.md"])
def test_every_command_of_the_documents_is_understood(page: str) -> None:
    """Options, arms and engines are those that there are."""
    text = (Path(__file__).parent / page).read_text()
    commands = [shlex.split(line, comments=True)[1:] for line in re.findall(r"^ *(robustreg .+)$", text, re.MULTILINE)]
    assert sum("--engine" in command for command in commands) >= 2
    for name, *arguments in commands:
        if "..." in arguments:
            continue
        context = cli.commands[name].make_context(name, arguments)
        assert all(parse(spec) for spec in context.params.get("specs", ()))
        if (engine := context.params.get("engine", "")).startswith("slurm"):
            engine_of(engine)


def test_every_option_of_the_engine_is_in_its_readme() -> None:
    """With the default that it has."""
    text = (Path(__file__).parent / "README.md").read_text()
    rows = dict(re.findall(r"^\| (`\w+`(?:, `\w+`)?) \| (.+?) \|", text, flags=re.MULTILINE))
    options = [row for row in inspect.signature(start).parameters.values() if row.kind is row.KEYWORD_ONLY]
    assert {f"`{option.name}`" for option in options} <= {name for key in rows for name in key.split(", ")}
    for name in ("minutes", "cpus", "gpus", "folder"):
        assert rows[f"`{name}`"].strip("`") == str(inspect.signature(start).parameters[name].default)


# A Slurm of shell scripts: sbatch really runs what it is given, and the others tell what stands in files.
COMMANDS = {
    "sbatch": """
[ -e refuse ] && { cat refuse >&2; exit 1; }
id=$(($(cat last) + 1)); echo $id > last
cp "$1" $id.sh
if [ -e hold ]; then echo PENDING > $id.state; else echo RUNNING > $id.state
( SLURM_JOB_ID=$id SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 setsid bash $id.sh
  code=$?; [ "$(cat $id.state)" = RUNNING ] && { [ $code = 0 ] && echo COMPLETED || echo FAILED; } > $id.state
) < /dev/null > /dev/null 2>&1 & fi
echo "Submitted batch job $id"
""",
    "srun": """
out=$(echo "$3" | sed "s/%j/$SLURM_JOB_ID/;s/%t/0/"); err=$(echo "$5" | sed "s/%j/$SLURM_JOB_ID/;s/%t/0/"); shift 5
echo $$ > $SLURM_JOB_ID.pid
exec "$@" >> "$out" 2>> "$err"
""",
    "squeue": """
[ -e deaf ] && exit 1
[ -e blind ] && { rm blind; sleep 0.3; exit 0; }
for file in *.state; do case $file in "*"*) continue;; esac
state=$(cat $file); [ -e forgets ] && [ $state != RUNNING ] && continue
echo "${file%.state} $state"; done
""",
    "sacct": """
[ -e accounts ] || { echo "Slurm accounting storage is disabled" >&2; exit 1; }
cat accounts
""",
    "scancel": """
for file in *.pid; do id=${file%.pid}
case "$*" in --name=*|*$id*) echo CANCELLED > $id.state; kill -TERM $(cat $file) 2> /dev/null;; esac; done; exit 0
""",
}


class Fake:
    """A machine with Slurm, in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir(parents=True)
        (root / "last").write_text("40")
        for name, text in COMMANDS.items():
            path = root / "bin" / name
            path.write_text(f'#!/bin/bash\necho {name} "$@" >> {root}/asked\ncd {root}\n{text}')
            path.chmod(0o700)

    def asked(self, command: str) -> list[str]:
        """Return how a command was called."""
        path = self.root / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(command)]

    def script(self, job: int) -> list[str]:
        """Return the lines of what was submitted."""
        return (self.root / f"{job}.sh").read_text().splitlines()

    def fate(self, job: int, state: str) -> None:
        """Let a running job end in a state."""
        (self.root / f"{job}.state").write_text(f"{state}\n")
        os.kill(int((self.root / f"{job}.pid").read_text()), signal.SIGKILL)


@pytest.fixture
def cluster(here: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return a machine with Slurm that answers fast."""
    fake = Fake(here / "slurm")
    monkeypatch.setenv("PATH", f"{fake.root}/bin:{os.environ['PATH']}")
    for name, seconds in (("look", 0.05), ("ask", 0.1), ("patience", 0.1)):
        monkeypatch.setattr(Slurm, name, seconds)
    return fake


def slurm(**options: Any) -> Any:
    """Return an engine that submits its jobs."""
    return start(work, lambda *_: None, **options)


def test_jobs_of_slurm_get_what_was_wished_for_and_hand_in_what_they_find(cluster: Fake, here: Path) -> None:
    """All options arrive in the script of sbatch, and a job is never started again by Slurm itself."""
    engine = slurm(partition="long", account="me", minutes=90, cpus=2, gpus=1, memory=1.5, jobs=2)
    assert engine.capacity() == 2
    number = engine.submit("threads")
    result, end = everything(engine, 1)[number]
    assert result.result == (2, "2") and end == Event(number, over=True)
    flags = {line.removeprefix("#SBATCH --") for line in cluster.script(41) if line.startswith("#SBATCH")}
    name = engine._folder.name
    wished = {"partition=long", "account=me", "time=90", "cpus-per-task=2", "gpus-per-node=1", "mem=1536MB"}
    assert wished | {"no-requeue", "nodes=1", "ntasks-per-node=1", f"job-name={name}"} <= flags
    assert not any(flag.startswith("wckey") for flag in flags)
    engine.close()
    assert cluster.asked("scancel") == [f"--name={name}"]
    assert {line.split(" --format")[0] for line in cluster.asked("squeue")} <= {
        f"--noheader --states=all --name={name}"
    }
    assert not (here / "robustreg-slurm").exists()
    plain = slurm()
    plain.submit("count", 1)
    flags = {line.partition("=")[0] for line in cluster.script(42) if line.startswith("#SBATCH")}
    assert not flags & {f"#SBATCH --{name}" for name in ("partition", "account", "mem", "gpus-per-node", "qos")}
    assert plain.capacity() == 16
    plain.close()


@pytest.mark.parametrize(
    ("state", "error"),
    [("FAILED", WorkerLostError), ("NODE_FAIL", WorkerLostError), ("PREEMPTED", WorkerLostError),
     ("OUT_OF_MEMORY", WorkerLostError), ("TIMEOUT", TimeUpError), ("DEADLINE", TimeUpError)],
)  # fmt: skip
def test_a_job_that_slurm_reports_as_ended_ends_its_task_and_what_it_handed_in_stays(
    cluster: Fake, state: str, error: type
) -> None:
    """A time that is up is told apart from a death, and a job beside it goes on."""
    engine = slurm(jobs=2)
    number = engine.submit("sleep", 60)
    assert not engine.wait().over
    cluster.fate(41, state)
    end = engine.wait()
    assert end.over and type(end.error) is error
    assert ("60 minutes" if error is TimeUpError else f"job 41 ended as {state}") in str(end.error)
    assert end.task == number
    engine.close()


def test_a_job_that_slurm_has_forgotten_is_asked_of_its_accounts_where_there_are_any(cluster: Fake) -> None:
    """A scheduler that does not answer says nothing of a job."""
    engine = slurm(jobs=1)
    engine.submit("sleep", 60)
    assert not engine.wait().over
    (cluster.root / "deaf").touch()
    (cluster.root / "forgets").touch()
    (cluster.root / "accounts").write_text("TIMEOUT\n")
    cluster.fate(41, "TIMEOUT")
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        engine._look()
    assert not engine._ready and len(cluster.asked("squeue")) > 2
    (cluster.root / "deaf").unlink()
    assert type(engine.wait().error) is TimeUpError and "--jobs=41 --format=State" in cluster.asked("sacct")[0]
    (cluster.root / "accounts").unlink()
    engine.submit("sleep", 60)
    assert not engine.wait().over
    cluster.fate(42, "NODE_FAIL")
    error = engine.wait().error
    assert type(error) is WorkerLostError and "job 42 is gone, and Slurm does not say why" in str(error)
    engine.close()


def test_a_task_that_takes_too_long_is_cancelled_by_its_number_and_waiting_in_the_queue_is_no_work(
    cluster: Fake,
) -> None:
    """The seconds of a task count from the begin of its job."""
    engine = slurm(jobs=2)
    (cluster.root / "hold").touch()
    engine.submit("sleep", 60, seconds=0.2)
    (cluster.root / "hold").unlink()
    late = engine.submit("sleep", 60, seconds=1)
    pid, end = everything(engine, 1)[late]
    assert type(end.error) is TimeUpError and cluster.asked("scancel") == ["42"] and soon(lambda: gone(pid.result))
    assert list(engine._tasks) == [1]
    engine.close()


def test_what_sbatch_refuses_at_first_is_a_usage_error_and_later_is_tried_again(cluster: Fake) -> None:
    """Wrong options are told at once, with the words of sbatch; a limit on jobs is no end of a study."""
    refuse = cluster.root / "refuse"
    refuse.write_text("sbatch: error: invalid partition specified: lng\n")
    engine = slurm(partition="lng", jobs=2)
    with pytest.raises(UsageError, match="does not take a job: sbatch: error: invalid partition specified: lng"):
        engine.submit("count", 1)
    refuse.unlink()
    first = everything(engine, 1)
    refuse.write_text("sbatch: error: QOSMaxSubmitJobPerUserLimit\n")
    second = engine.submit("count", 2)
    time.sleep(0.2)
    threading.Timer(0.4, refuse.unlink).start()
    assert len(everything(engine, 1)[second]) == 3 and len(first[1]) == 2
    assert len(cluster.asked("sbatch")) >= 4
    engine.close()


def test_a_job_that_slurm_does_not_know_for_a_moment_is_not_lost(cluster: Fake) -> None:
    """Neither by the first answer without it nor before there was a second one."""
    engine = slurm(jobs=1)
    engine.submit("sleep", 1.5)
    assert not engine.wait().over
    (cluster.root / "blind").touch()
    assert engine.wait() == Event(1, over=True) and not (cluster.root / "blind").exists()
    engine.close()


def test_a_disk_that_is_full_when_a_job_is_submitted_is_said_to_be(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With our exit code, and no traceback of submitit."""

    def full(*arguments: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Local, "begin", full)
    engine = local()
    with pytest.raises(DiskFullError, match="no room to write in"):
        engine.submit("count", 1)
    engine.close()


def test_an_end_does_not_wait_for_a_slurm_that_is_busy(cluster: Fake) -> None:
    """Which goes on cancelling by itself; a command that was interrupted is over within two seconds."""
    engine = slurm(jobs=1)
    engine.submit("sleep", 60)
    assert not engine.wait().over
    scancel = cluster.root / "bin" / "scancel"
    lines = scancel.read_text().splitlines()
    scancel.write_text("\n".join([*lines[:3], "sleep 2.5", *lines[3:], ""]))
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 1.5 and not engine._folder.path.exists()
    assert soon(lambda: (cluster.root / "41.state").read_text() == "CANCELLED\n")


@pytest.mark.parametrize("where", ["local", "slurm"])
def test_jobs_import_nothing_from_the_folder_that_the_command_was_started_in(
    where: str, cluster: Fake, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be anybody's, as that of a study is."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    for folder in (here, cluster.root):
        for name in ("submitit", "robustreg_slurm", "cloudpickle"):
            (folder / f"{name}.py").write_text("raise SystemExit(99)")
    engine = start(work, lambda *_: None, cluster=where, jobs=1)
    engine.submit("count", 1)
    assert [event.error for event in everything(engine, 1)[1]] == [None, None]
    engine.close()
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_file_system_that_is_silent_for_a_while_costs_no_job(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has ended meanwhile is judged when what it has handed in can be seen; some day it is enough."""
    engine = local(jobs=1)
    number = engine.submit("count", 2)
    listed, silent = os.listdir, time.monotonic() + 3

    def fickle(path: Any) -> list[str]:
        if time.monotonic() < silent and Path(path) == engine._folder.desk:
            raise OSError(errno.ESTALE, "Stale file handle")
        return listed(path)

    monkeypatch.setattr(os, "listdir", fickle)
    assert [event.result[0] for event in everything(engine, 1)[number][:-1]] == [0, 1]
    assert time.monotonic() > silent
    engine.submit("sleep", 60)
    monkeypatch.setattr("robustreg_slurm.folder.DEAF", 0.2)
    silent = math.inf
    with pytest.raises(StoreError, match="Stale file handle"):
        everything(engine, 1)
    monkeypatch.undo()
    engine.close()


def test_a_job_that_slurm_starts_again_does_nothing(cluster: Fake) -> None:
    """Its first try may have left results; the coordinator decides."""
    engine = slurm(jobs=1)
    number = engine.submit("sleep", 60)
    assert not engine.wait().over
    environment = {**os.environ, "SLURM_JOB_ID": "41", "SLURM_PROCID": "0"}
    script = ["bash", str(cluster.root / "41.sh")]
    assert subprocess.run(script, env=environment, cwd=cluster.root, timeout=30, check=True).returncode == 0
    names = engine._folder.names() or ()
    assert {name for name in names if not name.endswith(".partial")} == {f"{number}.begun", f"{number}.ready"}
    engine.close()


def test_jobs_of_a_coordinator_that_was_killed_are_cancelled_by_the_next_one(cluster: Fake, here: Path) -> None:
    """They are found by their name, also where no number was written down."""
    other = Folder("f", "slurm")
    about = json.loads((other.path / "coordinator.json").read_text())
    (other.path / "coordinator.json").write_text(json.dumps({**about, "started": "another process"}))
    Folder("f", "local").remove()
    assert cluster.asked("scancel") == [f"--name={other.name}"] and not other.path.exists()
    other.remove()


class Fickle(Regularizer):
    """Kills its process the first time, of which a file tells, and raises at the weights of one seed."""

    name = "fickle"
    where, cursed = "", torch.zeros(1)

    @rr.hookimpl
    def prepare(self, model: nn.Module) -> None:
        """Raise, perhaps."""
        if torch.equal(next(model.parameters()).detach(), self.cursed):
            raise ArithmeticError("not these weights")

    @rr.hookimpl
    def after_epoch(self) -> None:
        """Kill, once."""
        if not os.path.exists(self.where):
            Path(self.where).touch()
            os.kill(os.getpid(), signal.SIGKILL)


SMALL: dict[str, Any] = {
    "data": "digits:train=120,val=20,test=20", "epochs": 2, "model": "mlp:hidden=16", "label_noise": [],
    "eps": [0.1], "headline_eps": 0.1, "seeds": 2,
}  # fmt: skip


@linux
def test_a_study_on_jobs_has_the_bytes_of_a_serial_one_and_only_the_killed_is_done_again(here: Path) -> None:
    """An arm kills its job, and then raises for one of its two runs; the other one and the baseline know nothing."""
    plan = make_plan(["none"], catalogue=rr.plugins.discover(), **SMALL)
    Fickle.where, Fickle.cursed = str(here / "killed"), next(plan.model(1).parameters()).detach().clone()
    seen: list[str] = []
    engine = f"slurm:cluster=local,jobs=1,folder={here}/x"
    jobs = rr.compare(
        ["none", Fickle()], **SMALL, engine=engine, out=here / "jobs", on_progress=lambda at: seen.append(at.running)
    )
    assert (here / "killed").exists() and not (here / "x").exists()
    assert [name.partition(" ")[0] for name, _ in groupby(seen)] == ["none", "fickle:1", ""]
    serial = rr.compare(["none", Fickle()], **SMALL, engine="serial", out=here / "serial")

    def content(comparison: Any) -> list[Any]:
        return [(r.id, r.arm, r.seed, r.status, r.reason, r.model_sha256) for r in comparison.records]

    assert content(jobs) == content(serial)
    assert [record.status for record in jobs.of("none") + jobs.of("fickle:1")] == ["ok", "ok", "ok", "failed"]
    files = [
        {path.name: path.read_bytes() for path in (here / name / "models").iterdir()} for name in ("jobs", "serial")
    ]
    assert files[0] == files[1] and len(files[0]) == 3
