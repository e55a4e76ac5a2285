"""The Ray engine as a study sees it. Ray itself is in a process of its own, which ends with this one."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import deque
from importlib import metadata
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from robustreg.engines import Engine, EngineSource, Event, OnNote, TimeUpError, Work, WorkerLostError, cores
from robustreg.engines.elsewhere import interpreter, unpacked
from robustreg.errors import PluginError, UsageError

LEAST = (2, 52)  # the first Ray that asks for a token
PATIENCE = 30.0  # seconds that the driver has to shut Ray down
LONGEST = 40  # characters of a folder in which Ray's sockets fit


class Ray:
    """Does tasks as tasks of Ray Core, each in a worker process with one thread of torch, on any machine of a cluster.

    Nothing is done twice here: a worker or a node that is lost ends its task with a WorkerLostError, and what the task
    yielded before is there. Notes are not passed on.

    Args:
        work: picklable by cloudpickle; it is sent once, and unpacked once in each worker process.
        options: of `start`.
    """

    def __init__(self, work: Work, options: dict[str, Any]) -> None:
        self._count, self._heard = 0, deque[Event]()
        self._open: set[int] = set()
        content = cloudpickle.dumps(work, protocol=pickle.HIGHEST_PROTOCOL)
        self._folder = ""
        ours, theirs = socket.socketpair()
        # A session of its own: Ctrl-C reaches the whole group, and it is the coordinator who decides.
        self._driver = subprocess.Popen(
            [*interpreter(), "-m", "robustreg_ray.driver", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._pipe = Connection(ours.detach())
        try:
            if not options["address"]:
                self._folder = _folder()
            self._send(("start", {**options, "folder": self._folder}, content))
            kind, value = self._hear()
            if kind == "failed":
                raise UsageError(value)
            self._capacity, self.address = value
        except BaseException:
            self.close()
            raise

    def capacity(self) -> int:
        """Return how many tasks the cluster does at once; nodes may come and go."""
        with contextlib.suppress(EOFError, OSError):
            while self._pipe.poll():
                self._take(self._hear())
        return self._capacity

    def submit(self, *arguments: Any, seconds: float = 0.0) -> int:
        """Take a task; its seconds begin when a worker begins with it."""
        self._count += 1
        self._open.add(self._count)
        self._send(("submit", self._count, cloudpickle.dumps(arguments, protocol=pickle.HIGHEST_PROTOCOL), seconds))
        return self._count

    def wait(self) -> Event:
        """Wait for the next event of a task."""
        if not self._open:
            raise RuntimeError("there is no task to wait for")
        while not self._heard:
            self._take(self._hear())
        event = self._heard.popleft()
        if event.over:
            self._open.discard(event.task)
        return event

    def close(self) -> None:
        """End what is under way, and Ray with it if it was started here."""
        self._pipe.close()  # which the driver takes as its end
        try:
            self._driver.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._driver.kill()  # the kernel then ends the processes of Ray that it started
            self._driver.wait()
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _take(self, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == "capacity":
            self._capacity = rest[0]
            return
        task, value = rest
        if kind == "result":
            self._heard.append(Event(task, pickle.loads(value)))
            return
        error: BaseException | None = None
        if kind == "late":
            error = TimeUpError(f"it was not done after {value:g} s, the time it was given")
        elif kind == "lost":
            error = WorkerLostError(value)
        elif value:
            error = unpacked(*pickle.loads(value))
        self._heard.append(Event(task, over=True, error=error))

    def _send(self, message: tuple[Any, ...]) -> None:
        try:
            self._pipe.send_bytes(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))
        except OSError as error:
            raise self._gone() from error

    def _hear(self) -> Any:
        try:
            return pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._gone() from error

    def _gone(self) -> PluginError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._driver.wait(1.0)
        code = self._driver.poll()
        return PluginError(f"Ray has ended (its driver: exit code {code}); finished runs are kept, and can be resumed")


def start(
    work: Work,
    on_note: OnNote,
    *,
    workers: int = 0,
    address: str = "",
    gpus: float = 0.0,
    cpus: float = 1.0,
) -> Engine:
    """Return an engine on Ray: by default one that is started for it on this machine, and listens only there.

    Args:
        work: what is done.
        on_note: is told nothing.
        workers: how many tasks at once; 0 for as many as the machine or the cluster has room for.
        address: `host:port` of a cluster to join, or `auto` for the one that RAY_ADDRESS names or this machine is of.
        gpus: share of a GPU that each task gets, such as 0.25.
        cpus: cores that each task gets.
    """
    if workers < 0 or gpus < 0 or not cpus > 0:
        raise UsageError(
            "the ray engine takes a whole number of workers from 0 (as many as there is room for), gpus from 0 and cpus"
            f" above 0, got workers={workers}, gpus={gpus:g}, cpus={cpus:g}"
        )
    if "://" in address:
        raise UsageError(
            f"the ray engine joins a cluster as host:port, from a machine of the cluster, got address={address}."
            " From outside, hand the command in: ray job submit -- robustreg compare ..."
        )
    options = {
        "workers": workers, "address": address, "gpus": float(gpus), "cpus": float(cpus), "cores": cores(),
        "where": os.getcwd(),
    }  # fmt: skip
    return Ray(work, options)


def problem() -> str:
    """Say why Ray cannot be used here; empty where it can."""
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError:
        return "Ray is not installed: pip install 'ray>=2.52'"
    known = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if known < LEAST:
        return f"Ray {version} is installed, and before 2.52 it let everybody in: pip install 'ray>=2.52'"
    return "" if sys.platform != "win32" else "processes on Windows are not handed pipes as it needs them"


def _folder() -> str:
    """A new folder of ours alone for the logs and sockets of Ray; the names of sockets may not be long."""
    short = None if len(tempfile.gettempdir()) <= LONGEST or not os.path.isdir("/tmp") else "/tmp"
    return tempfile.mkdtemp(prefix="rr-ray-", dir=short)


RAY = EngineSource("ray", start, problem, "Tasks of Ray: the cores of this machine, or a cluster with its GPUs.")
