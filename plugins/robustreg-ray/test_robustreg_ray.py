"""A study on Ray has the bits it has in one process, whatever dies; and Ray asks everybody else for a token."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("ray")
import cloudpickle
from robustreg_ray import Ray, engines
from robustreg_ray.driver import Driver

import robustreg as rr
from robustreg.engines import Event, TimeUpError, WorkerLostError, engine_of
from robustreg.errors import DataError, UsageError
from robustreg.plugins import discover
from robustreg.study import Progress, make_plan, run_plan

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # pytest's name of this file means nothing to a worker

SMALL = {
    "data": "digits:train=120,val=20,test=20", "epochs": 2, "model": "mlp:hidden=16", "label_noise": [0.5],
    "eps": [0.1], "headline_eps": 0.1, "measures": ["clean_accuracy", "robust_accuracy"],
}  # fmt: skip


def work(note: Any, what: str, *arguments: Any) -> Iterator[Any]:
    """Do what is said."""
    if what == "count":
        for number in range(*arguments):
            yield number, os.getpid()
    elif what == "raise":
        yield "before"
        raise arguments[0]
    elif what == "kill":
        yield "before"
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "sleep":
        time.sleep(*arguments)
    elif what == "print":
        print("printed by the work")
        os.write(1, b"written by the work\n")
        yield True
    elif what == "threads":
        yield torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]
    elif what == "lambda":
        yield lambda: 1
    elif what == "where":
        yield os.getcwd()


@pytest.fixture(scope="module")
def engine() -> Iterator[Ray]:
    """An engine of two workers on a Ray of its own."""
    started: Any = engine_of("ray:workers=2")[1](work, lambda *_: None)
    yield started
    started.close()


def everything(engine: Ray, tasks: int) -> dict[int, list[Event]]:
    """All events of so many tasks."""
    found: dict[int, list[Event]] = {}
    while sum(events[-1].over for events in found.values()) < tasks:
        event = engine.wait()
        found.setdefault(event.task, []).append(event)
    return found


def below(pid: int) -> list[int]:
    """The processes that a process has started, and those they have."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [*children, *(deeper for child in children for deeper in below(child))]


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def eventually(holds: Any, seconds: float = 15.0) -> bool:
    """Whether something holds before its time is up."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(holds())


def test_it_is_offered_under_its_name() -> None:
    """The entry point's hook offers the engine, and the catalogue knows where it is from."""
    catalogue = discover()
    assert [catalogue.offers["engines"]["ray"]] == engines()
    assert catalogue.origins["engines", "ray"].distribution == "robustreg-ray"


def test_neither_ray_nor_torch_is_imported_before_it_is_used() -> None:
    """Help and errors of an engine's options answer at once."""
    code = (
        "import sys; from robustreg.engines import check_engine; check_engine('ray:address=10.0.0.1:6379,gpus=0.25');"
    )
    code += " sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [("ray:worker=2", "Did you mean 'workers'"), ("ray:gpus=all", "a number"), ("ray:workers=-1", "from 0"),
     ("ray:cpus=0", "above 0"), ("ray:address=ray://head:10001", "ray job submit")],
)  # fmt: skip
def test_what_makes_no_sense_is_a_usage_error_before_anything_starts(text: str, says: str) -> None:
    """No process is there after it."""
    before = below(os.getpid())
    with pytest.raises(UsageError, match=says):
        engine_of(text)[1](work, lambda *_: None)
    assert below(os.getpid()) == before


class Far:
    """Ray as the driver sees it, with workers that answer at once: what they were sent, or an odd error."""

    exceptions = SimpleNamespace(RayTaskError=ZeroDivisionError)

    def nodes(self) -> list[Any]:
        """Return that there is none."""
        return []

    def get_runtime_context(self) -> Any:
        """Return where it is."""
        return SimpleNamespace(gcs_address="nowhere")

    def cancel(self, stream: Any, force: bool) -> None:
        """Do nothing."""

    async def remote(self, key: str, parcel: list[Any], content: bytes, where: str) -> Any:
        """Yield what a task yields."""
        for message in (("began", True), ("result", content), ("over", b"")):
            if not content:
                raise LookupError("odd\nthing")
            answer = asyncio.get_running_loop().create_future()
            answer.set_result(message)
            yield answer


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """The engine's end of the pipe of a driver whose Ray is far."""

    def begin(driver: Driver) -> None:
        driver._do, driver._parcel = driver._ray, None

    monkeypatch.setattr(Driver, "_start", begin)
    ours, theirs = (Connection(end.detach()) for end in socket.socketpair())
    options = {"workers": 2, "where": ""}
    thread = threading.Thread(
        target=lambda: asyncio.run(Driver(Far(), theirs, options, b"", threading.Event()).drive()), daemon=True
    )
    thread.start()
    assert pickle.loads(ours.recv_bytes()) == ("ready", (2, "nowhere"))
    yield ours
    ours.close()
    thread.join(10)
    assert not thread.is_alive()


def test_models_that_meet_on_the_way_do_not_wait_for_each_other_for_ever(far: Connection) -> None:
    """A result is on its way to the engine, and so large that it does not fit, while the engine sends the next task."""
    content = bytes(2**23)

    def send() -> None:
        for number in (1, 2, 3):
            far.send_bytes(pickle.dumps(("submit", number, content, 0.0)))

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    sending.join(10)
    assert not sending.is_alive()
    found = [pickle.loads(far.recv_bytes()) for _ in range(6)]
    assert found == [message for at in (1, 2, 3) for message in (("result", at, content), ("over", at, b""))]


def test_a_task_of_which_ray_says_something_odd_is_lost_and_not_waited_for(far: Connection) -> None:
    """Whatever the error is."""
    far.send_bytes(pickle.dumps(("submit", 1, b"", 0.0)))
    assert far.poll(10)
    assert pickle.loads(far.recv_bytes()) == ("lost", 1, "the worker process is lost: LookupError: odd")


def test_nothing_is_imported_from_the_folder_of_the_command_and_tasks_are_done_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths of data may start there, and it may be anybody's, as the folder of a study is."""
    for name in ("ray", "robustreg", "robustreg_ray", "cloudpickle"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    engine: Any = engine_of("ray:workers=1")[1](work, lambda *_: None)
    engine.submit("where")
    assert [event.result for event in everything(engine, 1)[1]] == [str(tmp_path), None]
    engine.close()


def test_every_result_arrives_in_its_order_and_every_task_ends_once(engine: Ray) -> None:
    """Ten tasks on two workers, which stay alive."""
    assert engine.capacity() == 2
    numbers = [engine.submit("count", low, low + 3) for low in range(0, 30, 3)]
    found = everything(engine, 10)
    assert sorted(found) == numbers
    for place, number in enumerate(numbers):
        assert [event.result[0] for event in found[number][:-1]] == [3 * place, 3 * place + 1, 3 * place + 2]
        assert found[number][-1] == Event(number, over=True)
    pids = {event.result[1] for events in found.values() for event in events[:-1]}
    assert len(pids) <= 2 and os.getpid() not in pids


def test_an_exception_ends_its_task_only_and_ours_keep_class_and_text(engine: Ray) -> None:
    """SystemExit, too; and what cannot be pickled is an error of the task."""
    errors = [DataError("no such file"), ValueError("odd\nthing"), SystemExit(4)]
    numbers = [engine.submit("raise", error) for error in errors] + [engine.submit("count", 1), engine.submit("lambda")]
    found = everything(engine, 5)
    ends = [found[number][-1].error for number in numbers]
    assert type(ends[0]) is DataError and str(ends[0]) == "no such file"
    assert "odd" in str(ends[1]) and "4" in str(ends[2]) and ends[3] is None and "pickle" in str(ends[4])
    assert [found[number][0].result for number in numbers[:3]] == ["before"] * 3


def test_a_dead_worker_ends_its_task_and_what_it_had_yielded_is_there(engine: Ray) -> None:
    """Three times, beside a task that is not disturbed."""
    for _ in range(3):
        lost, fine = engine.submit("kill"), engine.submit("count", 2)
        found = everything(engine, 2)
        assert type(found[lost][-1].error) is WorkerLostError and found[fine][-1].error is None
        assert [event.result for event in found[lost][:-1]] == ["before"] and len(found[fine]) == 3


def test_a_task_that_takes_too_long_is_ended_and_its_worker_with_it(engine: Ray) -> None:
    """Another task follows on the same engine."""
    begun = time.monotonic()
    late = engine.submit("sleep", 600, seconds=0.5)
    event = engine.wait()
    assert event.task == late and type(event.error) is TimeUpError and 0.5 <= time.monotonic() - begun < 20
    engine.submit("count", 1, seconds=60)
    assert everything(engine, 1)


def test_a_worker_computes_with_one_thread(engine: Ray) -> None:
    """Whatever the cores of the task."""
    engine.submit("threads")
    assert next(event.result for event in everything(engine, 1).popitem()[1]) == (1, "1")


def test_what_is_printed_goes_to_standard_error_and_nothing_is_left(capfd: pytest.CaptureFixture[str]) -> None:
    """By Python, by native code and by Ray; and no process and no folder, though a task is under way at the end."""
    printing: Any = engine_of("ray:workers=1")[1](work, lambda *_: None)
    printing.submit("print")
    assert everything(printing, 1)
    errors = ""

    def told() -> bool:
        nonlocal errors
        out, more = capfd.readouterr()
        assert out == ""
        errors += more
        return "printed by the work" in errors and "written by the work" in errors

    assert eventually(told)
    printing.submit("sleep", 600)
    time.sleep(0.5)
    pids, folder = [printing._driver.pid, *below(printing._driver.pid)], Path(printing._folder)
    assert len(pids) > 5 and folder.is_dir()
    printing.close()
    assert eventually(lambda: all(map(gone, pids))) and not folder.exists()
    assert capfd.readouterr().out == "" and "\x1b" not in errors


CLIENT = """
import logging, os, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
except Exception as error:
    print(type(error).__name__, error)
else:
    print("came in", ray.get(ray.remote(lambda: 1).remote()))
"""


def client(address: str, **changes: str) -> subprocess.Popen[str]:
    """Another program that would like to use a Ray."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **changes}  # so that it looks on the loopback interface
    environment["RAY_NUM_REDIS_GET_RETRIES"] = "2"  # and gives up soon
    command = [sys.executable, "-c", CLIENT, address]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def listening(pid: int) -> list[tuple[str, int]]:
    """Addresses and ports on which a process and those below it wait for anybody."""
    sockets = set()
    for process in (pid, *below(pid)):
        with contextlib.suppress(OSError):
            links = [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()]
            sockets |= {link[8:-1] for link in links if link.startswith("socket:")}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                address, port = fields[1].split(":")
                found.append((address, int(port, 16)))
    return found


def asked(port: int) -> bytes:
    """What a port answers to a request that has no token."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as to:
        to.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(OSError):
            return to.recv(1000)
    return b""


def test_nobody_comes_in_without_the_token_and_nobody_from_outside(engine: Ray) -> None:
    """Every socket is of the loopback interface and speaks gRPC, where clients are refused, or asks for a token."""
    stranger = client(engine.address)
    guesser = client(engine.address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    ports = listening(engine._driver.pid)
    assert len(ports) >= 4  # GCS, raylet, agents, workers
    loopback = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
    assert {address for address, _ in ports} <= set(loopback)
    for _, port in ports:
        answer = asked(port)
        assert not answer.startswith(b"HTTP/") or answer.split()[1] in (b"401", b"403"), (port, answer)
    for other in (stranger, guesser):
        said = other.communicate(timeout=60)[0]
        assert "came in" not in said and "uthenticat" in said, said
    assert (os.stat(engine._folder).st_mode & 0o777) == 0o700
    engine.submit("count", 1)
    assert everything(engine, 1)


class Once(rr.Regularizer):
    """Kills its worker the first time; the file says that it did."""

    name = "once"
    where = ""

    @rr.hookimpl
    def after_epoch(self) -> None:
        """Die, unless somebody did."""
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.where, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)


class Raises(rr.Regularizer):
    """Raises."""

    name = "raises"

    @rr.hookimpl
    def prepare(self) -> None:
        """Raise."""
        raise ArithmeticError("not these weights")


class Trace(rr.Regularizer):
    """Writes down what begins, and takes its time."""

    name = "trace"
    file, seconds = "", 0.0

    @rr.hookimpl
    def after_epoch(self, epoch: int, model: torch.nn.Module) -> None:
        """Write and wait, where a file is named."""
        if self.file:
            with open(self.file, "ab", buffering=0) as file:
                file.write(f"{os.getpid()} {epoch}\n".encode())
            time.sleep(self.seconds)


def files(folder: Path) -> dict[str, bytes]:
    """The model files of a study."""
    return {path.name: path.read_bytes() for path in (folder / "models").iterdir()}


def told(comparison: Any) -> str:
    """All that a study has found but how long it took."""
    times = ("training_seconds", "trust_seconds")
    return json.dumps([
        [r.id, r.arm, r.status, r.model_sha256, r.history, {k: v for k, v in r.measures.items() if k not in times}]
        for r in comparison.records
    ])  # fmt: skip


def test_a_study_is_the_same_to_the_last_bit_on_every_engine_whatever_its_arms_do(tmp_path: Path) -> None:
    """One arm kills its worker once, and one raises: no other arm notices."""
    Once.where = str(tmp_path / "killed")
    arms: list[Any] = ["none", "l2:1e-3", Once(), Raises()]
    on_ray = make_plan(arms, catalogue=discover(), seeds=1, **SMALL)  # type: ignore[arg-type]
    found = run_plan(on_ray, engine="ray:workers=2", out=tmp_path / "ray", run_seconds=600)
    assert Path(Once.where).exists()
    status = {arm: {record.status for record in found.of(arm)} for arm in found.arms}
    assert status == {
        "none": {"ok"},
        "l2:0.001": {"ok"},
        "once:1": {"ok"},
        "raises:1": {"failed"},
    }
    assert all("not these weights" in record.reason for record in found.of("raises:1"))
    for engine in ("serial", "local:workers=2"):
        calm = rr.compare(arms, out=tmp_path / engine, engine=engine, seeds=1, **SMALL)  # type: ignore[arg-type]
        assert told(calm) == told(found)
        assert files(tmp_path / engine) == files(tmp_path / "ray")
    assert len(files(tmp_path / "ray")) == 3 * 2


CLUSTERS = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
CLUSTERS["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on the loopback interface only
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1)]
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
cluster.shutdown()
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    """The address of a Ray that is there already, of two nodes with one core each on this machine, and a function that
    takes the second away at once."""
    for name, value in CLUSTERS.items():
        monkeypatch.setenv(name, value)
    holder = subprocess.Popen([sys.executable, "-c", CLUSTER], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None and holder.stdout is not None

    def remove() -> None:
        print("remove", file=holder.stdin, flush=True)

    yield holder.stdout.readline().strip(), remove
    holder.stdin.close()
    holder.wait(60)


def test_a_node_that_goes_takes_no_run_with_it_and_the_cluster_stays(cluster: Any, tmp_path: Path) -> None:
    """Only what was under way on it is done again; who joins a cluster does not end it."""
    address, remove = cluster
    arms: list[Any] = ["none", Trace()]
    calm = rr.compare(arms, out=tmp_path / "serial", engine="serial", seeds=4, **SMALL)  # type: ignore[arg-type]
    Trace.file, Trace.seconds = str(tmp_path / "trace"), 0.3
    away: list[int] = []

    def watch(progress: Progress) -> None:
        if progress.done >= 9 and not away:  # all without a trace, and one more
            away.append(progress.done)
            remove()

    found = rr.compare(arms, out=tmp_path / "ray", engine=f"ray:address={address}", seeds=4, on_progress=watch, **SMALL)  # type: ignore[arg-type]
    Trace.file = ""
    assert away and {record.status for record in found.records} == {"ok"}
    assert told(found) == told(calm) and files(tmp_path / "ray") == files(tmp_path / "serial")
    lines, runs = (tmp_path / "trace").read_text().splitlines(), 4 * 2 * 2  # seeds, conditions, epochs
    assert runs <= len(lines) <= runs + 2 * 2  # epochs of the runs of one task
    assert len({line.split()[0] for line in lines}) > 1  # processes
    assert client(address, **CLUSTERS).communicate(timeout=60)[0].endswith("came in 1\n")


PARENT = """
import signal, sys, time
from robustreg.engines import engine_of
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what it runs beside itself
def work(note):
    time.sleep(600)
    yield
engine = engine_of("ray:workers=1")[1](work, lambda *_: None)
try:
    engine.submit()
    time.sleep(1)
    print(engine._driver.pid, engine._folder, flush=True)
    engine.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
finally:
    engine.close()
"""


def test_nothing_is_left_when_the_coordinator_is_killed_or_interrupted() -> None:
    """No process and no folder, after SIGKILL and after Ctrl-C to the whole group."""
    ways = (signal.SIGKILL, signal.SIGINT)
    parents = [subprocess.Popen([sys.executable, "-c", PARENT], text=True, start_new_session=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in ways]  # fmt: skip
    begun = []
    for parent in parents:
        assert parent.stdout is not None
        pid, name = parent.stdout.readline().split()
        begun.append(([int(pid), *below(int(pid))], Path(name)))
        assert len(begun[-1][0]) > 5 and Path(name).is_dir()
    for parent, how in zip(parents, ways, strict=True):
        os.killpg(parent.pid, how)
    for parent, (pids, folder), how in zip(parents, begun, ways, strict=True):
        rest = parent.communicate(timeout=40)[0]
        assert rest == ("interrupted\n" if how == signal.SIGINT else "")
        assert eventually(lambda pids=pids: all(map(gone, pids)), 20), [pid for pid in pids if not gone(pid)]
        assert eventually(lambda folder=folder: not folder.exists())


def test_what_no_node_has_is_a_usage_error_and_nothing_is_left() -> None:
    """A task that waits for ever helps nobody."""
    before = set(below(os.getpid()))
    with pytest.raises(UsageError, match="no node has the 1 cores and 99 GPUs"):
        engine_of("ray:gpus=99")[1](work, lambda *_: None)
    assert eventually(lambda: set(below(os.getpid())) <= before)
