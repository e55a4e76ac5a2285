"""The process that talks with Ray: `python -m robustreg_ray.driver FD`, started by the engine.

It holds no study and no torch: what it passes on it does not unpack. So the environment that Ray is started with, its
threads and its signal handlers are here and not in the process of the user, and when that process ends, however it
ends, this one reads the end of the pipe, shuts down what it started, and removes its folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import secrets
import select
import shutil
import sys
import threading
import time
import uuid
from multiprocessing.connection import Connection
from typing import Any

LOOK = 2.0  # seconds between two looks at how large the cluster is
JOINING = 60.0  # seconds in which a cluster has to answer; Ray would ask for ever
LEAVING = 20.0  # seconds that Ray may take to shut down
UNPACKING = 300.0  # seconds that a worker process may take to import torch and unpack the work, where time is limited


def main(pipe: Connection) -> None:
    """Start or join Ray, do what the pipe says until it ends, and leave nothing behind."""
    try:
        _, options, content = pickle.loads(pipe.recv_bytes())
    except (EOFError, OSError):  # interrupted before it could say what is wanted
        return
    joined = threading.Event()
    threading.Thread(target=_watch, args=(pipe, options, joined), daemon=True).start()
    try:
        ray = _ray(options)
        try:
            asyncio.run(Driver(ray, pipe, options, content, joined).drive())
        finally:
            ray.shutdown()
    finally:
        _clear(options)


def _watch(pipe: Connection, options: dict[str, Any], joined: threading.Event) -> None:
    """End this process where Ray holds it up: while nothing answers, and when the engine is gone."""
    end, hung_up = time.monotonic() + JOINING, select.poll()
    hung_up.register(pipe.fileno(), select.POLLHUP)
    while not hung_up.poll(100):
        if not joined.is_set() and time.monotonic() > end:
            address = options["address"] or "this machine"
            _send(pipe, "failed", f"Ray cannot be used: nothing answered at {address} within {JOINING:g} s")
            break
    else:
        time.sleep(LEAVING if joined.is_set() else 0.0)
    _clear(options)
    os._exit(1)  # what Ray started here ends with this process: the kernel sees to it


def _clear(options: dict[str, Any]) -> None:
    if options["folder"]:
        shutil.rmtree(options["folder"], ignore_errors=True)


def _send(pipe: Connection, *message: Any) -> None:
    pipe.send_bytes(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))


def _ray(options: dict[str, Any]) -> Any:
    """The module, ready to be imported and initialized with our settings."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_COLOR_PREFIX"] = "0"
    if options["folder"]:
        # A token that nobody else has, and only the loopback interface. The second is how Ray is on other systems by
        # default; without it Ray listens everywhere.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH"):
            os.environ.pop(name, None)
    import ray

    return ray


class Driver:
    """Submits tasks to Ray and sends what comes of them through the pipe.

    Args:
        ray: the module.
        pipe: to the engine.
        options: of the engine, with the number of cores here and the folder of a Ray that is started here.
        content: the work, pickled.
        joined: set once Ray answers.
    """

    def __init__(
        self, ray: Any, pipe: Connection, options: dict[str, Any], content: bytes, joined: threading.Event
    ) -> None:
        self._ray, self._pipe, self._options, self._joined = ray, pipe, options, joined
        self._key, self._content = uuid.uuid4().hex, content
        self._tasks: dict[int, tuple[Any, asyncio.Task[None]]] = {}
        self._ended = asyncio.Event()

    async def drive(self) -> None:
        """Do tasks until the pipe ends."""
        try:
            self._start()
        except Exception as error:  # Ray has many ways to say that there is no such cluster
            self._send("failed", f"Ray cannot be used: {type(error).__name__}: {str(error).strip()}")
            return
        self._joined.set()
        self._send("ready", (self._capacity(), self._ray.get_runtime_context().gcs_address))
        threading.Thread(target=self._listen, args=(asyncio.get_running_loop(),), daemon=True).start()
        watch = asyncio.create_task(self._watch())
        await self._ended.wait()
        watch.cancel()
        for stream, follower in self._tasks.values():
            follower.cancel()
            self._cancel(stream)

    def _start(self) -> None:
        from .task import do

        options = self._options
        # Ray lets workers look for modules first where this process is, and the folder of the user may be anybody's,
        # such as that of a study. A task goes there by itself.
        os.chdir(options["folder"] or os.sep)
        known = {"logging_level": logging.ERROR, "log_to_driver": True, "namespace": "robustreg"}
        if options["address"]:
            self._ray.init(address=options["address"], **known)
        else:
            cores = options["workers"] * options["cpus"] if options["workers"] else max(options["cores"], 1)
            # Ray lets everybody write to its folder, so it lies in one that is ours alone.
            self._ray.init(
                address="local", num_cpus=max(1, -int(-cores // 1)), include_dashboard=False,
                _temp_dir=f"{options['folder']}/r", **known,
            )  # fmt: skip
        if not self._room() and not (options["address"] and options["workers"]):
            wanted = f"{options['cpus']:g} cores and {options['gpus']:g} GPUs"
            raise ValueError(f"no node has the {wanted} that each task is to get; see cpus=, gpus= and workers=")
        self._parcel = self._ray.put(self._content)
        self._content = b""
        # A worker goes on when what it yielded is here, so that its death takes nothing with it that was given away.
        self._do = self._ray.remote(do).options(
            num_returns="streaming", _generator_backpressure_num_objects=1, max_retries=0,
            num_cpus=options["cpus"], num_gpus=options["gpus"], name="robustreg",
        )  # fmt: skip

    def _room(self) -> int:
        """How many tasks the nodes have room for, whatever else they do."""
        cpus, gpus = self._options["cpus"], self._options["gpus"]
        room = 0
        for node in self._ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            room += int(min(has.get("CPU", 0.0) / cpus, has.get("GPU", 0.0) / gpus if gpus else float("inf")) + 1e-9)
        return room

    def _capacity(self) -> int:
        return self._options["workers"] or max(1, self._room())

    async def _watch(self) -> None:
        known = self._capacity()
        while not self._options["workers"]:
            await asyncio.sleep(LOOK)
            if (now := self._capacity()) != known:
                known = now
                self._send("capacity", now)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hear the engine, in a thread: were a model being sent each way, each end would wait for the other to read."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            with contextlib.suppress(EOFError, OSError):
                while True:
                    _, *task = pickle.loads(self._pipe.recv_bytes())
                    loop.call_soon_threadsafe(self._begin, *task)
            loop.call_soon_threadsafe(self._ended.set)

    def _begin(self, number: int, content: bytes, seconds: float) -> None:
        try:
            stream = self._do.remote(self._key, [self._parcel], content, self._options["where"])
        except Exception as error:
            self._lost(number, error)
            return
        self._tasks[number] = stream, asyncio.create_task(self._follow(number, stream, seconds))

    async def _follow(self, number: int, stream: Any, seconds: float) -> None:
        """Pass on what a task yields, until it is over, has taken too long, or its worker or node is gone."""
        errors, loop = self._ray.exceptions, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                async for reference in stream:
                    kind, value = await reference
                    if kind in ("began", "ready"):
                        if seconds:
                            limit.reschedule(loop.time() + seconds + (UNPACKING if value is False else 0.0))
                        continue
                    self._send(kind, number, value)
                    if kind == "over":
                        return
            self._send("lost", number, "the worker ended its task without a word")
        except TimeoutError:
            self._cancel(stream)
            self._send("late", number, seconds)
        except errors.RayTaskError as error:  # what the work raises comes as a value: this is of the worker itself
            text = f"a worker of Ray cannot do tasks: {str(error).strip().splitlines()[-1]}"
            self._send("over", number, pickle.dumps(("PluginError", text, "")))
        except Exception as error:  # whatever becomes of Ray, the engine waits for a word on each task
            self._cancel(stream)
            self._lost(number, error)
        finally:
            self._tasks.pop(number, None)

    def _lost(self, number: int, error: Exception) -> None:
        reason = next(iter(str(error).strip().splitlines()), "")
        self._send("lost", number, f"the worker process is lost: {type(error).__name__}: {reason}")

    def _cancel(self, stream: Any) -> None:
        with contextlib.suppress(Exception):  # it may be over by now
            self._ray.cancel(stream, force=True)

    def _send(self, *message: Any) -> None:
        try:
            _send(self._pipe, *message)
        except OSError:  # the engine is gone
            self._ended.set()


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
