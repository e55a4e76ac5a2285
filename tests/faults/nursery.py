"""Runs `robustreg` commands as processes of their own that cost no start-up: forked from one that has imported all.

That process is also the one to which Linux gives the orphans of its descendants, so that it sees each one left behind.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType, TracebackType
from typing import Any

from .small import command

ADOPTS_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
GRACE = 5.0  # seconds after which a process that is still there counts as left behind
LONGEST = 120.0  # seconds after which a command counts as hanging
LOOK = 0.002
WRITING = ("/study/store.py", "/study/coordinator.py", "/study/runner.py", "/engines/", "/report/write.py", "/cli/")
ROOT = Path(__file__).parents[2]


@dataclass
class Ended:
    """How a command ended: its exit code (negative: the signal), what it printed, how many processes outlived it,
    how many calls it made where studies are written, its wall-clock seconds, and those after its first signal."""

    code: int
    out: str
    err: str
    orphans: int
    calls: int
    seconds: float
    after: float


@dataclass
class Nursery:
    """Use as a context manager; `run` runs a command to its end.

    Args:
        folder: for what the commands print.
    """

    folder: Path
    _process: subprocess.Popen[str] = field(init=False)

    def __enter__(self) -> Nursery:
        path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        command = [sys.executable, "-m", "tests.faults.nursery"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=env, cwd=ROOT, **pipes)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def run(
        self,
        arguments: list[str],
        *,
        call: int = 0,
        count: bool = False,
        signals: tuple[tuple[float, int, bool], ...] = (),
        setup: str = "",
        limit: int = 0,
    ) -> Ended:
        """Run a command.

        Args:
            arguments: of `robustreg`.
            call: SIGKILL at this call that the command makes where studies are written, counted from 1; 0 for none.
            count: whether to count these calls, which slows a command down.
            signals: seconds after the start, the signal, and whether it goes to the whole process group.
            setup: Python code that is run first, such as one that adds a plugin.
            limit: largest size of a file, as on a full disk; 0 for none.
        """
        asked: dict[str, Any] = {
            "arguments": arguments,
            "call": call,
            "count": count,
            "signals": signals,
            "setup": setup,
            "limit": limit,
        }
        return self._ended(self._ask({**asked, "folder": str(self.folder)}), self.folder)

    def together(self, commands: list[list[str]], setup: str = "") -> list[Ended]:
        """Run commands at the same time, and return how each ended; `calls` and `after` are not told."""
        folders = [str(self.folder / f"crowd-{at}") for at in range(len(commands))]
        crowd = [{"arguments": each, "call": 0, "count": False, "limit": 0, "setup": setup, "folder": folder}
                 for each, folder in zip(commands, folders, strict=True)]  # fmt: skip
        found = self._ask({"crowd": crowd})
        return [self._ended(each, Path(folder)) for each, folder in zip(found, folders, strict=True)]

    def _ask(self, asked: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    @staticmethod
    def _ended(found: dict[str, Any], folder: Path) -> Ended:
        out, err = ((folder / name).read_text(errors="replace") for name in ("out.txt", "err.txt"))
        return Ended(out=out, err=err, **found)


def serve() -> None:
    """Answer the requests on standard input until it ends."""
    import torch

    import robustreg.report
    import robustreg.study  # noqa: F401
    from robustreg.cli.main import run

    torch.set_num_threads(1)
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        run(command(Path(folder)))  # whatever is made at the first use is made here, once
    ctypes.CDLL(None).prctl(ADOPTS_ORPHANS, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(_crowd(asked["crowd"]) if "crowd" in asked else _answer(asked)), flush=True)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _live(asked, writing)
    os.close(writing)
    status, waiting, first = None, sorted(asked["signals"]), 0.0
    while status is None:
        now = time.monotonic() - began
        if now > LONGEST:
            waiting = [(now, signal.SIGKILL, True)]
        while waiting and waiting[0][0] <= now:
            _, number, group = waiting.pop(0)
            first = first or time.monotonic()
            with suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(pid, number)
        found, code = os.waitpid(pid, os.WNOHANG)
        status = code if found else None
        time.sleep(LOOK if waiting else LOOK * 2)
    seconds, after = time.monotonic() - began, time.monotonic() - first if first else 0.0
    with os.fdopen(reading, "rb") as pipe:
        calls = int(pipe.read() or 0)
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "orphans": _orphans(), "calls": calls, "seconds": seconds, "after": after}


def _crowd(crowd: list[dict[str, Any]]) -> list[dict[str, Any]]:
    began, going, found = time.monotonic(), {}, {}
    for at, asked in enumerate(crowd):
        Path(asked["folder"]).mkdir(exist_ok=True)
        pid = os.fork()
        if not pid:
            _live(asked, os.open(os.devnull, os.O_WRONLY))
        going[pid] = at
    while going:
        seconds = time.monotonic() - began
        for pid in [*going]:
            if seconds > LONGEST:
                os.killpg(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                found[going.pop(pid)] = {"code": code, "orphans": 0, "calls": 0, "seconds": seconds, "after": 0.0}
        time.sleep(LOOK)
    left = _orphans()
    return [found[at] | {"orphans": left} for at in range(len(crowd))]


def _orphans() -> int:
    """Reap what was left to this process, and return how many were still alive after a while; those are ended."""
    until = time.monotonic() + GRACE
    while True:
        try:
            found, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        if not found and time.monotonic() > until:
            left = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            for pid in map(int, left):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            return len(left)
        time.sleep(0 if found else LOOK)


def _live(asked: dict[str, Any], pipe: int) -> None:
    """The life of the command: a session of its own, its streams in files, and the call at which it is killed."""
    from robustreg.cli.main import main

    code = 70
    try:
        os.setsid()
        for number, name in ((1, "out.txt"), (2, "err.txt")):
            file = os.open(Path(asked["folder"]) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
            os.close(file)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        exec(asked["setup"], {})
        if asked["limit"]:
            import resource

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (asked["limit"], resource.RLIM_INFINITY))
        counted = _Counted(asked["call"])
        if asked["call"] or asked["count"]:
            counted.begin()
        try:
            main(asked["arguments"])
        except SystemExit as ended:
            code = int(ended.code or 0)
        sys.setprofile(None)
        os.write(pipe, str(counted.calls).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)


class _Counted:
    """Counts what is called where studies are written: Python's functions, and those of C such as `os.fsync`."""

    def __init__(self, last: int) -> None:
        self.calls, self.last = 0, last
        self._known: dict[CodeType, bool] = {}

    def begin(self) -> None:
        """Count from here on, in this process and none that it forks."""
        os.register_at_fork(after_in_child=lambda: sys.setprofile(None))
        sys.setprofile(self)

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        here = self._known.get(code)
        if here is None:
            here = self._known[code] = any(part in code.co_filename for part in WRITING)
        if here and event in ("call", "c_call", "c_return"):
            self.calls += 1
            if self.calls == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve()
