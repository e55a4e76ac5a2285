"""Engines stream back what comes of tasks, survive what tasks do to them, and leave nothing behind; and whatever engine
a study runs on, and however often it is cut off, its numbers are the same to the last bit."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pytest
import torch

import robustreg as rr
from robustreg.cli.doctor import examine
from robustreg.cli.main import run as command
from robustreg.distributed import PeerLostError
from robustreg.engines import (
    LOCAL,
    SERIAL,
    EngineSource,
    Event,
    TimeUpError,
    WorkerLostError,
    check_engine,
    engine_of,
)
from robustreg.engines.elsewhere import interpreter, packed, unpacked
from robustreg.errors import DataError, PluginError, RobustregError, UsageError
from robustreg.plugins import Origin
from robustreg.states import OtherRunError
from robustreg.study import Progress, make_plan, run_plan
from robustreg.study.execute import execute
from robustreg.study.parcel import StudyWork
from robustreg.study.tasks import tasks_of

ENGINES = ("serial", "local:workers=2")
linux = pytest.mark.skipif(bool(LOCAL.problem()), reason=LOCAL.problem())

SMALL = {
    "data": "digits:train=120,val=20,test=20", "epochs": 2, "model": "mlp:hidden=16", "label_noise": [0.5],
    "eps": [0.1], "headline_eps": 0.1,
}  # fmt: skip
ARMS = ["none", "l2:1e-3,1e-2", "dropout:0.5"]
TIMES = {"training_seconds", "trust_seconds"}


def work(note, what, *arguments):
    if what == "count":
        for number in range(*arguments):
            note(number)
            yield number, os.getpid()
    elif what == "raise":
        yield "before"
        raise arguments[0]
    elif what == "end":
        yield "before"
        os._exit(*arguments)
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "sleep":
        time.sleep(*arguments)
    elif what == "print":
        print("printed by the work")
        os.write(1, b"written by the work\\n") if arguments else None
        yield True
    elif what == "threads":
        yield torch.get_num_threads(), threading.active_count()
    elif what == "lambda":
        yield lambda: 1
    elif what == "hear":
        signal.signal(signal.SIGTERM, lambda *_: None)
        os.kill(os.getpid(), signal.SIGTERM)
        yield True


def started(text: str, notes: list | None = None):
    kept = [] if notes is None else notes
    return engine_of(text)[1](work, lambda task, value: kept.append((task, value)))


def everything(engine, tasks: int) -> dict[int, list[Event]]:
    found: dict[int, list[Event]] = {}
    while sum(events[-1].over for events in found.values()) < tasks:
        event = engine.wait()
        found.setdefault(event.task, []).append(event)
    return found


def children() -> set[int]:
    """All but the one process that Python keeps for itself once it has spawned another."""
    pids = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return {int(pid) for pid in pids if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()}


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("text", ENGINES)
def test_every_result_arrives_in_its_order_and_every_task_ends_once(text):
    notes: list = []
    engine = started(text, notes)
    numbers = [engine.submit("count", low, low + 3) for low in range(0, 30, 3)]
    found = everything(engine, 10)
    engine.close()
    assert numbers == sorted(found) and len(set(numbers)) == 10
    for place, number in enumerate(numbers):
        assert [event.result[0] for event in found[number][:-1]] == [3 * place, 3 * place + 1, 3 * place + 2]
        assert found[number][-1] == Event(number, over=True)
    assert Counter(notes) == Counter((number, 3 * at + i) for at, number in enumerate(numbers) for i in range(3))


@pytest.mark.parametrize("text", ENGINES)
def test_an_exception_ends_its_task_only_and_ours_keep_class_and_text(text):
    engine = started(text)
    errors = [DataError("no such file"), ValueError("odd\\nthing"), SystemExit(4), UsageError("so not")]
    numbers = [engine.submit("raise", error) for error in errors] + [engine.submit("count", 1)]
    found = everything(engine, 5)
    engine.close()
    ends = [found[number][-1].error for number in numbers]
    assert type(ends[0]) is DataError and str(ends[0]) == "no such file"
    assert type(ends[3]) is UsageError and ends[4] is None
    assert "odd" in str(ends[1]) and "4" in str(ends[2])
    assert all(found[number][0].result == "before" for number in numbers[:4])
    assert not any(isinstance(error, WorkerLostError) for error in ends)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(OtherRunError("x"), DataError), (PeerLostError("x"), RobustregError), (ValueError("x"), RuntimeError),
     (KeyboardInterrupt("x"), KeyboardInterrupt)],
)  # fmt: skip
def test_an_error_below_one_of_ours_arrives_as_that_and_not_as_a_strangers(error, kind):
    assert type(unpacked(*packed(error))) is kind


@linux
def test_a_signal_that_a_worker_hears_is_not_taken_for_one_to_its_parent():
    reading, writing = os.pipe()
    os.set_blocking(reading, False), os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing)
    try:
        engine = started("local:workers=1")
        engine.submit("hear")
        assert everything(engine, 1)[1][0].result is True
        engine.close()
        with pytest.raises(BlockingIOError):  # nothing was written
            os.read(reading, 1)
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading), os.close(writing)


def test_another_python_looks_for_modules_where_this_one_does_and_not_in_a_folder_it_is_in(tmp_path, monkeypatch):
    (tmp_path / "click.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    assert subprocess.run([sys.executable, "-m", "robustreg", "--version"], capture_output=True).returncode == 99
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert subprocess.run([*interpreter(), "-m", "robustreg", "--version"], capture_output=True).returncode == 0
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as with python -m, which somebody has typed
    assert interpreter() == [sys.executable]


@linux
def test_workers_stay_alive_and_are_as_many_as_wanted():
    engine = started("local:workers=3")
    assert engine.capacity() == 3 and not children()
    for _ in range(30):
        engine.submit("count", 1)
    pids = {event.result[1] for events in everything(engine, 30).values() for event in events if not event.over}
    assert pids <= children() and len(children()) == 3 and os.getpid() not in pids
    engine.close()
    assert not children()


@linux
def test_a_worker_computes_with_one_thread_whatever_its_parent_does():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(400, 400) @ torch.randn(400, 400)
        engine = started("local:workers=1")
        engine.submit("threads")
        assert engine.wait().result == (1, 1)
        engine.close()
    finally:
        torch.set_num_threads(before)


@linux
@pytest.mark.parametrize(("what", "says"), [(("end", 3), "exit code 3"), (("kill",), "signal 9")])
def test_a_dead_worker_ends_its_task_and_is_replaced(what, says):
    engine = started("local:workers=2")
    for _ in range(5):
        lost, fine = engine.submit(*what), engine.submit("count", 2)
        found = everything(engine, 2)
        assert isinstance(found[lost][-1].error, WorkerLostError) and says in str(found[lost][-1].error)
        assert len(found[fine]) == 3 and found[fine][-1].error is None
        assert len(found[lost]) == (2 if what[0] == "end" else 1)  # what was yielded before is not lost
    assert len(children()) <= 2
    engine.close()
    assert not children()


@linux
def test_a_task_that_takes_too_long_is_ended():
    engine = started("local:workers=1")
    begun = time.monotonic()
    late, next_one = engine.submit("sleep", 60, seconds=0.3), engine.submit("count", 1, seconds=60)
    found = everything(engine, 2)
    assert 0.3 <= time.monotonic() - begun < 10
    assert isinstance(found[late][-1].error, TimeUpError) and found[next_one][-1].error is None
    engine.close()
    assert not children()


@pytest.mark.parametrize("text", ENGINES)
def test_what_the_work_prints_does_not_reach_standard_output(text, capfd):
    engine = started(text)
    engine.submit("print", True)
    assert engine.wait().result is True
    engine.close()
    assert capfd.readouterr().out == ""


@linux
def test_a_result_that_cannot_be_sent_is_an_error_of_the_task():
    engine = started("local:workers=1")
    engine.submit("lambda")
    event = engine.wait()
    assert event.over and "pickle" in str(event.error)
    engine.close()


PARENT = """
import os, sys, time
from robustreg.engines import engine_of
def work(note, pipe):
    os.write(pipe, f"{os.getpid()}\\n".encode())
    time.sleep(100)
    yield
read, write = os.pipe()
engine = engine_of("local:workers=3")[1](work, lambda *_: None)
for _ in range(3):
    engine.submit(write)
pids = b""
while pids.count(b"\\n") < 3:
    pids += os.read(read, 100)
try:
    print(pids.decode().replace("\\n", " "), flush=True)
    engine.wait()
finally:
    if len(sys.argv) > 1:
        engine.close()
        print("closed", flush=True)
"""


@linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(how):
    code = [sys.executable, "-c", PARENT, *(["close"] if how == signal.SIGINT else [])]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    parent = subprocess.Popen(code, **streams, text=True, start_new_session=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 3 and not any(map(gone, pids))
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)  # as a terminal does it: workers leave it to the parent
        assert parent.stdout.readline() == "closed\n"
    else:
        parent.send_signal(how)
    parent.wait(10)
    deadline = time.monotonic() + 10
    while not all(map(gone, pids)):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("locl", "Did you mean 'local'"),
        ("local:worker=2", "Did you mean 'workers'"),
        ("local:workers=many", "whole number"),
        ("local:workers=1.5", "whole number"),
        ("local:1,2", "whole number"),
        ("serial:2", "no option"),
        ("", "empty"),
    ],
)
def test_an_unknown_engine_or_option_is_a_usage_error_before_anything_is_read(text, says, monkeypatch, capsys):
    with pytest.raises(UsageError, match=says):
        rr.compare(["none"], data="nosuch", engine=text)
    assert command(["compare", "none", "--data", "nosuch", "--engine", text]) == 2
    assert says in capsys.readouterr().err


def offered(*engines, problem="", name="far"):
    """A catalogue with engines of a stranger, by default one that is Serial under another name."""

    def start(work, on_note, *, workers: int = 2, share: float = 0.5, address: str = "", wake: bool = False):
        started_with.append((workers, share, address, wake))
        return SERIAL.start(work, on_note)

    started_with: list = []
    catalogue = rr.plugins.discover([])
    for engine in engines or [EngineSource(name, start, lambda: problem, "Elsewhere.")]:
        catalogue.add("engines", Origin("mine", "robustreg-mine", "3.1"), engine)
    return catalogue, started_with


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("far", (2, 0.5, "", False)),
        ("far:4", (4, 0.5, "", False)),
        ("far:address=auto,share=0.25", (2, 0.25, "auto", False)),
        ("far:address=10.0.0.1:6379,workers=3", (3, 0.5, "10.0.0.1:6379", False)),
        ("far:workers=3,address=ray://head.example:10001,share=1,wake=true", (3, 1, "ray://head.example:10001", True)),
        ("far:address=7", (2, 0.5, "7", False)),
        ("far:share=1/4", (2, 0.25, "", False)),
    ],
)
def test_a_strangers_engine_has_options_of_the_kinds_of_their_defaults(text, found):
    catalogue, started_with = offered()
    comparison = rr.compare(["none"], **SMALL, seeds=1, catalogue=catalogue, engine=text)
    assert started_with == [found] and {record.status for record in comparison.records} == {"ok"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("far:share=much", "a number"), ("far:share=true", "a number"), ("far:wake=1", "true or false"),
        ("far:workers=2.5", "whole number"), ("far:address=a,b", "a word"), ("far:adress=a", "Did you mean 'address'"),
        ("far:address=", "no value"), ("far:address=a b", "cannot be in a spec"), ("fa", "Did you mean 'far'"),
        ("far:2,workers=3", "twice"), ("far+local", "one name"),
    ],
)  # fmt: skip
def test_an_option_that_is_not_of_its_kind_is_a_usage_error_with_its_place(text, says):
    with pytest.raises(UsageError, match=says) as caught:
        engine_of(text, offered()[0])
    assert "^" in str(caught.value) and text in str(caught.value)


def test_an_engine_name_that_is_taken_stays_with_the_first_and_the_second_is_to_blame():
    with pytest.raises(PluginError, match=r"'local', which robustreg.engines \(robustreg .*\) has already"):
        offered(name="local")


def test_what_is_offered_as_an_engine_and_is_none_is_named_only_when_it_is_asked_for():
    catalogue, _ = offered(rr.measures.Measure("odd", len, None, "No engine."))
    check_engine("serial", catalogue)
    with pytest.raises(PluginError, match=r"plugin mine \(robustreg-mine 3.1\): .*no EngineSource"):
        rr.compare(["none"], **SMALL, seeds=1, catalogue=catalogue, engine="odd")


def test_an_engine_whose_plugin_breaks_is_a_plugin_error_and_stops_nobody_who_only_looks():
    def breaks(*arguments):
        raise OSError("no such cluster")

    catalogue, _ = offered(EngineSource("far", breaks, lambda: "", "."), EngineSource("near", breaks, breaks, "."))
    with pytest.raises(PluginError, match=r"plugin mine \(robustreg-mine 3.1\): engine far .*OSError: no such cluster"):
        rr.compare(["none"], **SMALL, seeds=1, catalogue=catalogue, engine="far")
    with pytest.raises(UsageError, match=r"near cannot be used: it cannot say .*no such cluster"):
        rr.compare(["none"], **SMALL, seeds=1, catalogue=catalogue, engine="near")
    catalogue.add("engines", Origin("mine", "robustreg-mine", "3.1"), rr.measures.Measure("odd", len, None, "None."))
    engines = examine(catalogue)["engines"]
    assert "no such cluster" in engines["near"] and engines["odd"] == "no EngineSource" and engines["serial"] == "ok"


def test_who_asks_for_an_engine_of_a_plugin_that_cannot_be_used_is_not_given_another():
    catalogue, _ = offered(problem="no cluster answers")
    with pytest.raises(UsageError, match="far cannot be used: no cluster answers"):
        rr.compare(["none"], **SMALL, seeds=1, catalogue=catalogue, engine="far")


PLUGIN = """
from robustreg import hookimpl
from robustreg.engines import SERIAL, EngineSource
@hookimpl
def engines():
    return [EngineSource("NAME", lambda work, on_note, *, workers=2: SERIAL.start(work, on_note), lambda: "PROBLEM",
                         "In a far country.")]
"""


def installed(folder: Path, name: str, engine: str, problem: str = "", code: str = PLUGIN) -> None:
    (folder / f"far_{name}.py").write_text(code.replace("NAME", engine).replace("PROBLEM", problem))
    about = folder / f"far_{name}-3.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: far-{name}\nVersion: 3.1\n")
    (about / "entry_points.txt").write_text(f"[robustreg]\n{name} = far_{name}\n")


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    installed(tmp_path, "comet", "comet")
    installed(tmp_path, "other", "planet", problem="it is night")
    installed(tmp_path, "broken", "sun", code="import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield
    for name in ("comet", "other", "broken"):
        sys.modules.pop(f"far_{name}", None)


def test_an_installed_engine_is_found_by_its_entry_point_or_by_loading_the_others(strangers):
    assert engine_of("comet:workers=3")[0].about == "In a far country." and "far_other" not in sys.modules
    assert engine_of("planet")[0].problem() == "it is night"
    with pytest.raises(UsageError) as caught:
        engine_of("plant")
    assert "Did you mean 'planet'" in str(caught.value) and "broken (far-broken 3.1): could not" in str(caught.value)


def test_the_command_line_names_engines_and_what_is_wrong_with_them(strangers, capsys, tmp_path):
    assert command(["plugins", "list", "--json"]) == 0
    rows = {(row["kind"], row["name"]): row for row in json.loads(capsys.readouterr().out)}
    assert rows["engine", "comet"]["distribution"] == "far-comet" and rows["engine", "serial"]["version"]
    assert rows["engine", "planet"]["about"] == "In a far country. Cannot be used here: it is night"
    assert rows["plugin", "broken"]["status"] == "failed"
    assert command(["plugins", "info", "planet", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["kind"], about["problem"]) == ("engine", "it is night")
    assert [(option["name"], option["default"]) for option in about["options"]] == [("workers", 2)]
    assert command(["plugins", "info", "planet"]) == 0 and "night" in capsys.readouterr().out
    small = [
        "compare",
        "none",
        "--data",
        SMALL["data"],
        "--epochs",
        "1",
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "never"),
    ]
    assert command([*small, "--engine", "planet"]) == 2
    assert "planet cannot be used: it is night" in capsys.readouterr().err and not (tmp_path / "never").exists()


@pytest.mark.parametrize("text", ["local:worker=2", "comet:worker=2", "comet:workers=many", "comet:workers"])
def test_options_of_an_engine_are_judged_without_torch(strangers, text):
    code = "import sys; from robustreg.cli.main import run; print(run(sys.argv[1:]), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "compare", "none", "--engine", text], capture_output=True)
    assert done.stdout.split() == [b"2", b"False"]
    assert b"expected" in done.stderr or b"Did you mean" in done.stderr or b"whole number" in done.stderr


MODULE = """
from torch import nn
class Net(nn.Sequential):
    pass
def small(shape, classes):
    return Net(nn.Flatten(), nn.Linear(64, classes))
"""
ELSEWHERE = """
import pickle, sys
work = pickle.load(sys.stdin.buffer)
found = [found for which in WHICH for found in work(lambda share: None, [which], {})]
sys.stdout.buffer.write(pickle.dumps(found))
"""


def given_as(how: str, tmp_path: Path, monkeypatch) -> dict:
    """The arguments of a study that is made of objects of some kind."""
    if how == "lambdas":
        width = 6
        return {"model": lambda classes: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width),
                                                             torch.nn.Linear(width, classes)),
                "data": lambda seed: rr.load_data("digits:train=50,val=20,test=20", seed=seed)}  # fmt: skip
    if how == "objects":
        x = torch.rand(90, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        return {"data": rr.data.Dataset("own", x, (x.mean((1, 2, 3)) > 0.5).long(), ("dark", "bright")),
                "model": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))}  # fmt: skip
    if how == "module":
        (tmp_path / "elsewhere_model.py").write_text(MODULE)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [*sys.path])  # which gets the folder
        monkeypatch.delitem(sys.modules, "elsewhere_model", raising=False)
        return {"model": "elsewhere_model:small", "data": SMALL["data"]}
    return {"model": "mlp:hidden=16", "data": SMALL["data"]}


def planned_as(how, tmp_path, monkeypatch, arms=("none", "shift:1+l2:1e-3")):
    settings = {**SMALL, **given_as(how, tmp_path, monkeypatch)}
    return make_plan(list(arms), catalogue=rr.plugins.discover(), seeds=2, **settings)


@pytest.mark.parametrize("how", ["names", "lambdas", "objects", "module"])
def test_work_that_was_sent_to_another_process_gives_the_same_bytes(how, tmp_path, monkeypatch):
    plan = planned_as(how, tmp_path, monkeypatch)
    runs = list(plan.runs())
    work = StudyWork(execute, plan, runs)
    which = [0, len(runs) - 1]
    here = [found for one in which for found in work(lambda share: None, [one], {})]
    packed = pickle.dumps(work)
    monkeypatch.chdir("/")  # what is imported has to come with the work
    code = ELSEWHERE.replace("WHICH", str(which))
    done = subprocess.run([sys.executable, "-c", code], input=packed, stdout=subprocess.PIPE, check=True)
    there = pickle.loads(done.stdout)
    assert [found[0] for found in there] == which
    assert [(found[1].status, found[1].reason) for found in there] == [("ok", "")] * 2
    assert [found[2] for found in there] == [found[2] for found in here]
    assert [found[1].id for found in there] == [plan.identity(runs[index]) for index in which]


def test_what_is_sent_is_what_a_worker_needs_and_cannot_make_itself(tmp_path, monkeypatch):
    plan = planned_as("objects", tmp_path, monkeypatch)
    runs, images = list(plan.runs()), 90 * 64 * 4
    before = len(pickle.dumps(StudyWork(execute, plan, runs)))
    list(StudyWork(execute, plan, runs)(lambda share: None, [0, 1], {}))
    assert plan._ready and len(pickle.dumps(StudyWork(execute, plan, runs))) == before
    assert images < before < images + 60_000


@pytest.mark.parametrize("name", ["robustreg", "torch", "python", "robustreg-mine"])
def test_a_worker_with_other_versions_refuses_before_it_unpacks_anything(name, tmp_path, monkeypatch):
    catalogue = rr.plugins.discover()
    origin = Origin("mine", "robustreg-mine", "3.1")
    catalogue.origins["regularizers", "l2"] = origin
    plan = make_plan(["l2"], catalogue=catalogue, seeds=1, **SMALL)
    function, (sent, path, content) = StudyWork(execute, plan, list(plan.runs())).__reduce__()
    assert name in sent and function(sent, path, content)
    with pytest.raises(PluginError, match=f"{name} is .* and was 0.0.1"):
        function({**sent, name: "0.0.1"}, path, b"this is never unpickled")


def test_a_worker_without_the_gpu_of_the_study_says_so_once_and_fails_no_run(monkeypatch):
    plan = replace(make_plan(["none"], catalogue=rr.plugins.discover(), seeds=1, **SMALL), device="cuda")
    function, sent = StudyWork(execute, plan, list(plan.runs())).__reduce__()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"torch finds no GPU for the worker on .*gpus=1"):
        function(*sent)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert function(*sent).plan.device == "cuda"


def test_code_that_a_worker_lacks_is_named(tmp_path, monkeypatch):
    plan = planned_as("module", tmp_path, monkeypatch, arms=["none"])
    function, (sent, _, content) = StudyWork(execute, plan, list(plan.runs())).__reduce__()
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    monkeypatch.chdir("/")
    monkeypatch.delitem(sys.modules, "elsewhere_model")
    with pytest.raises(PluginError, match="No module named 'elsewhere_model'"):
        function(sent, [], content)


def test_what_cannot_be_pickled_is_a_usage_error_that_says_what(tmp_path, monkeypatch):
    lock = threading.Lock()
    plan = make_plan(["none"], **{**SMALL, "data": lambda seed: (lock, rr.load_data(SMALL["data"], seed=seed))[1]},
                     catalogue=rr.plugins.discover(), seeds=1)  # fmt: skip
    with pytest.raises(UsageError, match=r"cannot be pickled: .*lock"):
        pickle.dumps(StudyWork(execute, plan, list(plan.runs())))


def test_the_engine_of_the_documentation_works_and_loses_nothing_when_its_pool_breaks(tmp_path, monkeypatch):
    text = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text()
    (code,) = (block for block in text.split("```") if "ProcessPoolExecutor" in block)
    installed(tmp_path, "pool", "pool", code=code.removeprefix("python"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "far_pool", raising=False)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    Once.where = str(tmp_path / "killed")
    try:
        found = study(tmp_path / "pool", "pool:workers=2", pool_arms(), seeds=1)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert os.path.exists(Once.where)
    assert json.dumps(content(found)) == json.dumps(content(study(tmp_path / "s", "serial", pool_arms(), seeds=1)))
    assert models(tmp_path / "pool") == models(tmp_path / "s")
    assert not children()


def pool_arms():
    return ["none", "l2:1e-3", Once()]


def test_a_run_that_was_done_on_other_data_is_refused():
    def other(work, on_note):
        def wrong(note, *arguments):
            mine = StudyWork(
                work.do,
                replace(work.plan, load=lambda seed: rr.load_data(SMALL["data"], seed=7), _ready={}, _hashes={}),
                work.runs,
            )
            yield from mine(note, *arguments)

        return SERIAL.start(wrong, on_note)

    catalogue, _ = offered(EngineSource("far", other, lambda: "", "Sees other data."))
    with pytest.raises(UsageError, match="came back as another run"):
        rr.compare(["none"], **SMALL, seeds=1, catalogue=catalogue, engine="far")


def test_an_engine_that_cannot_be_used_here_is_replaced_with_its_reason(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    said: list[str] = []
    plan = make_plan(["none"], catalogue=rr.plugins.discover(), seeds=1, **SMALL)
    assert {record.status for record in run_plan(plan, engine="local", say=said.append).records} == {"ok"}
    assert len(said) == 1 and "Linux" in said[0] and "serial" in said[0]


def study(folder: Path, engine: str, arms=ARMS, **changes):
    return rr.compare(arms, out=folder, engine=engine, **{**SMALL, "seeds": 2, **changes})


def content(comparison) -> list[dict]:
    """All that is stored of a study but times, and what says who was trained with whom."""
    found = []
    for record in comparison.records:
        measures = {name: value for name, value in record.measures.items() if name not in TIMES}
        details = {key: value for key, value in record.details.items() if key not in ("seconds", "cohort", "note")}
        kept = {"measures": measures, "trust": record.trust, "details": details, "history": record.history}
        found.append({"id": record.id, "arm": record.arm, "sha": record.model_sha256, "status": record.status, **kept})
    return found


def models(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "models").iterdir()}


@linux
def test_a_study_is_the_same_to_the_last_bit_on_every_engine(tmp_path):
    whole = study(tmp_path / "serial", "serial")
    expected, files = json.dumps(content(whole)), models(tmp_path / "serial")
    assert len(files) == 4 * 2 * 2 and {record.status for record in whole.records} == {"ok"}
    for engine in ("local:workers=2", "local:workers=5"):
        assert json.dumps(content(study(tmp_path / engine, engine))) == expected
        assert models(tmp_path / engine) == files
    assert not children()


@linux
def test_a_stacked_study_is_the_same_to_the_last_bit_however_its_runs_are_shared_out(tmp_path):
    changes = {"protocol": "standard", "label_noise": [], "seeds": 3}
    whole = study(tmp_path / "serial", "serial", **changes)
    assert all(record.details["cohort"] > 1 for record in whole.records)
    alone = study(tmp_path / "alone", "local:workers=6", **changes)  # so many workers that each run is a task
    assert [record.details["cohort"] for record in alone.records] == [1] * 12
    assert json.dumps(content(alone)) == json.dumps(content(whole))
    assert models(tmp_path / "alone") == models(tmp_path / "serial")
    study(tmp_path / "cut", "serial", ARMS[:1], **{**changes, "seeds": 1})
    assert json.dumps(content(study(tmp_path / "cut", "serial", **changes))) == json.dumps(content(whole))


@linux
def test_records_come_in_the_order_of_the_plan(tmp_path):
    comparison = study(tmp_path, "local:workers=3", seeds=2)
    plan = make_plan(ARMS, catalogue=rr.plugins.discover(), seeds=2, **SMALL)
    assert [(r.arm, r.seed, r.label_condition) for r in comparison.records] == [
        (run.arm.name, run.seed, str(run.condition)) for run in plan.runs()
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_study_that_was_interrupted_goes_on_to_the_same_bits(tmp_path, engine):
    whole = study(tmp_path / "whole", "serial")

    def stop(progress: Progress) -> None:
        if progress.done >= 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "cut", engine, on_progress=stop)
    assert len(models(tmp_path / "cut")) == 7 and not children()
    seen: list[Progress] = []
    again = study(tmp_path / "cut", engine, on_progress=seen.append)
    assert seen[0].reused == 7
    assert json.dumps(content(again)) == json.dumps(content(whole))
    assert models(tmp_path / "cut") == models(tmp_path / "whole")


INTERRUPTED = """
import signal, sys, robustreg as rr
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
try:
    rr.compare(["none", "l2:1e-3"], data="digits:train=300,val=40,test=60", seeds=4, epochs=30, label_noise=[0.5],
               model="mlp:hidden=32", out=sys.argv[1], engine="local:workers=2",
               on_progress=lambda at: print(at.done, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@linux
def test_ctrl_c_stops_the_workers_at_once_and_loses_no_finished_run(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", INTERRUPTED, tmp_path], text=True, start_new_session=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    done = 0
    while done < 3:
        done = int(parent.stdout.readline())
    workers = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    asked = time.monotonic()
    os.killpg(parent.pid, signal.SIGINT)
    rest, errors = parent.communicate(timeout=20)
    assert rest.endswith("interrupted\n") and time.monotonic() - asked < 3 and "Traceback" not in errors
    assert len(workers) == 2 and all(gone(int(pid)) for pid in workers)
    shown = max([done, *(int(line) for line in rest.split()[:-1])])
    assert len(models(tmp_path)) >= shown and not list(tmp_path.rglob("*.partial"))
    with rr.study.Store(tmp_path) as store:
        assert all(store.sound(name.partition(".")[0]) for name in models(tmp_path))


class Fatal(rr.Regularizer):
    """Ends its process, as broken native code does."""

    name = "fatal"

    @rr.hookimpl
    def after_epoch(self):
        os._exit(7)


class Once(rr.Regularizer):
    """Kills its worker the first time; the file says that it did."""

    name = "once"
    where = ""

    @rr.hookimpl
    def after_epoch(self):
        if not os.path.exists(self.where):
            Path(self.where).touch()
            os.kill(os.getpid(), signal.SIGKILL)


@linux
def test_a_regularizer_that_ends_its_process_fails_its_runs_only(tmp_path):
    comparison = study(tmp_path, "local:workers=2", ["none", Fatal(), "l2:1e-3"], seeds=2)
    lost = comparison.of("fatal:1")
    assert {record.status for record in lost} == {"failed"} and len(lost) == 4
    assert all("exit code 7" in record.reason for record in lost)
    assert {record.status for arm in ("none", "l2:0.001") for record in comparison.of(arm)} == {"ok"}


@linux
def test_runs_whose_worker_was_killed_are_done_again_to_the_same_bits(tmp_path):
    Once.where = str(tmp_path / "killed")
    killed = study(tmp_path / "a", "local:workers=2", ["none", Once()], seeds=2)
    assert os.path.exists(Once.where) and {record.status for record in killed.records} == {"ok"}
    calm = study(tmp_path / "b", "serial", ["none", Once()], seeds=2)
    assert json.dumps(content(killed)) == json.dumps(content(calm))
    assert models(tmp_path / "a") == models(tmp_path / "b")


@linux
def test_a_run_that_takes_too_long_has_failed_and_the_study_goes_on():
    class Hangs(rr.Regularizer):
        name = "hangs"

        @rr.hookimpl
        def after_epoch(self):
            time.sleep(60)

    plan = make_plan(["none", Hangs()], catalogue=rr.plugins.discover(), seeds=1, **SMALL)
    comparison = run_plan(plan, engine="local:workers=2", run_seconds=2)
    assert {record.status for record in comparison.of("none")} == {"ok"}
    assert {record.status for record in comparison.of("hangs:1")} == {"failed"}
    assert all("2 s" in record.reason for record in comparison.of("hangs:1"))


@pytest.mark.parametrize("engine", ENGINES)
def test_one_failing_run_does_not_take_the_others_of_its_task_with_it(tmp_path, engine):
    plan = make_plan(["none"], catalogue=rr.plugins.discover(), seeds=3, **SMALL)

    class Fails(rr.Regularizer):
        name = "fails"

        @rr.hookimpl
        def prepare(self, model):
            start = next(model.parameters()).detach()
            if torch.equal(start, next(plan.model(1).parameters())):
                raise ArithmeticError("not these weights")

    comparison = study(tmp_path, engine, ["none", Fails()], seeds=3)
    status = {(record.seed, record.status) for record in comparison.of("fails:1")}
    assert status == {(0, "ok"), (1, "failed"), (2, "ok")}
    assert all("not these weights" in r.reason for r in comparison.records if r.status == "failed")


@pytest.mark.parametrize("engine", ENGINES)
def test_data_that_cannot_be_read_stops_the_study(engine):
    def data(seed):
        if seed == 1 and len(loaded) > 2:
            raise DataError("the disk is gone")
        loaded.append(seed)
        return rr.load_data(SMALL["data"], seed=seed)

    loaded: list[int] = []
    plan = make_plan(["none"], **{**SMALL, "data": data}, catalogue=rr.plugins.discover(), seeds=2)
    loaded += [0, 0, 0]
    with pytest.raises(DataError, match="the disk is gone"):
        run_plan(plan, engine=engine)
    assert not children()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_measure_that_returns_what_cannot_be_kept_takes_no_run_with_it(engine, tmp_path):
    catalogue = rr.plugins.discover()
    odd = rr.measures.Measure("odd", lambda subject: {1, 2}, None, "A set.")
    catalogue.add("measures", rr.plugins.Origin("mine", "dist", "1"), odd)
    comparison = rr.compare(["none"], **SMALL, seeds=1, catalogue=catalogue, engine=engine, out=tmp_path)
    assert {record.status for record in comparison.records} == {"ok"}
    assert all("odd" not in record.measures for record in comparison.records)
    said = comparison.verdict()[-1]
    assert "measure 'odd' must return a number" in said and "got set {1, 2}" in said


def planned(arms=("none", "l1:1e-4,1e-3", "dropout:0.5"), seeds=10, **changes):
    plan = make_plan(arms, catalogue=rr.plugins.discover(), seeds=seeds, **{**SMALL, **changes})
    return plan, list(plan.runs())


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_tasks_hold_every_run_once_and_only_what_trains_alike(workers):
    plan, runs = planned()
    todo = [index for index in range(len(runs)) if index % 7]
    tasks = tasks_of(plan, runs, todo, workers)
    assert sorted(index for task in tasks for index in task.runs) == todo
    for task in tasks:
        mine = [runs[index] for index in task.runs]
        assert len({run.condition for run in mine}) == 1
        assert len({tuple(type(member) for member in run.arm.regularizers) for run in mine}) == 1
        assert task.baseline == all(run.arm.name == "none" and not run.condition.rate for run in mine)
        waits = not task.baseline and not mine[0].condition.rate
        assert task.needs == ({run.seed for run in mine} if waits else set())
    assert len(tasks) >= min(len(todo), workers)
    assert max(len(task.runs) for task in tasks) <= 64


def test_strengths_share_a_task_and_other_knobs_do_not():
    plan, runs = planned(["none", "l1:1e-4,1e-3", "shift:1", "shift:2", "mixup:0.2,0.4"], seeds=2, label_noise=[])
    tasks = tasks_of(plan, runs, range(len(runs)), 1)
    together = [{runs[index].arm.name for index in task.runs} for task in tasks]
    assert {"l1:0.0001", "l1:0.001"} in together and {"mixup:0.2", "mixup:0.4"} in together
    assert len(together) == 5 - (rr.regularizers.Shift.knobs["strength"].is_tensor)


def test_several_workers_begin_with_what_others_wait_for_and_then_with_what_takes_longest():
    plan, runs = planned(label_noise=[0.5, 1.0])
    tasks = tasks_of(plan, runs, range(len(runs)), 4)
    first = [task.baseline for task in tasks]
    assert first == sorted(first, reverse=True) and first[0]
    costs = [task.cost for task in tasks if not task.baseline]
    assert costs == sorted(costs, reverse=True)


def test_a_large_model_is_trained_run_by_run():
    plan, runs = planned(["none"], seeds=2, model="mlp:hidden=1024,1024")
    assert plan.parameters() > 1_000_000
    assert all(len(task.runs) == 1 for task in tasks_of(plan, runs, range(len(runs)), 1))


def test_arms_that_are_the_same_run_are_trained_once(tmp_path):
    comparison = study(tmp_path, "serial", ["l2:1e-3", "again@l2:1e-3"], seeds=1)
    assert comparison.arms == ["none", "l2:0.001", "again@l2:0.001"] and len(models(tmp_path)) == 4
    one, two = comparison.of("l2:0.001"), comparison.of("again@l2:0.001")
    assert [record.measures for record in one] == [record.measures for record in two]
    assert [record.arm for record in two] == ["again@l2:0.001"] * 2


@pytest.mark.parametrize("engine", ENGINES)
def test_progress_goes_up_to_the_end(engine):
    seen: list[Progress] = []
    rr.compare(ARMS, **SMALL, seeds=2, engine=engine, on_progress=seen.append)
    places = [at.done + at.part for at in seen]
    assert places == sorted(places) and places[0] == 0 and places[-1] == seen[-1].total == 16
    assert seen[-1].running == "" and all(at.running for at in seen[:-1])
    assert seen[-1].seconds_left == 0 and all(at.seconds_left >= 0 for at in seen if at.seconds_left is not None)
    assert any(at.seconds_left is not None for at in seen[:-1])


def test_auto_takes_processes_for_small_models_only(monkeypatch):
    begun: list[str] = []
    for name, value in (("serial", "Serial"), ("local", "Local")):
        module = sys.modules[f"robustreg.engines.{name}"]
        kind = getattr(module, value)
        monkeypatch.setattr(module, value, lambda *a, name=name, kind=kind: begun.append(name) or kind(*a))
    monkeypatch.setattr("robustreg.study.runner.cores", lambda: 2)
    monkeypatch.setattr("robustreg.engines.local.cores", lambda: 2)
    rr.compare(["none"], **{**SMALL, "label_noise": []}, seeds=1)  # one task
    rr.compare(["none", "l2:1e-3"], **{**SMALL, "label_noise": []}, seeds=1)
    rr.compare(
        ["none", "l2:1e-3"], **{**SMALL, "label_noise": [], "model": "mlp:hidden=1024,1024", "epochs": 0}, seeds=1
    )
    monkeypatch.setattr("robustreg.study.runner.cores", lambda: 1)
    rr.compare(["none", "l2:1e-3"], **{**SMALL, "label_noise": []}, seeds=1)
    assert begun == ["serial", "serial" if LOCAL.problem() else "local", "serial", "serial"]
