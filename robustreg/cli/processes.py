"""`--nproc N`: the command once more, in N processes that torchrun starts and watches; what they say is said once."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import errors
from ..engines import cores
from ..engines.elsewhere import interpreter, kind_of
from ..engines.signals import end_with_parent
from .blame import blamed
from .output import data_stream, say

RESTARTS = 3  # of all processes after the death of one
LOST = 75  # exit code of a process that another one has left alone
PLACE = "ROBUSTREG_PROCESSES"  # the folder in which processes leave what they have to say
PARENT = "ROBUSTREG_PARENT"  # the process that has started them


def launch(arguments: Sequence[str], nproc: int) -> int:
    """Run `robustreg` with these arguments in `nproc` processes of this machine and return its exit code.

    What the first one prints comes out when all are done. When one dies, all are started again, from the last
    checkpoint. The error of any ends all; it is raised here. They talk over the loopback interface alone.

    Raises:
        RobustregError: what a process raised, by its class; or the processes keep dying.
    """
    with TemporaryDirectory(prefix="robustreg-") as folder:
        for attempt in range(RESTARTS + 1):
            place = Path(folder) / str(attempt)
            place.mkdir()
            with _environment(_settings(place, nproc)):
                codes = _watched(arguments, nproc, place)
            for report in sorted(place.glob("*.error")):
                name, message = json.loads(report.read_text())
                raise vars(errors)[name](message)
            if not codes:
                data_stream().write((place / "out").read_text(errors="replace"))
                return int((place / "code").read_text())
            if not all(code == LOST or code < 0 for code in codes):
                failed = next(code for code in codes if code != LOST and code >= 0)
                raise errors.RobustregError(
                    f"a process of the training ended with exit code {failed}; what it said is above"
                )
            dead = next((code for code in codes if code < 0 and code != -signal.SIGTERM), None)
            how = f"was killed by signal {-dead}" if dead else "has lost the others"
            if attempt < RESTARTS:
                say(f"A process of the training {how}; all start again, from the last checkpoint.")
    raise errors.RobustregError(f"a process of the training {how}, as others in {RESTARTS} starts before it; giving up")


def _settings(place: Path, nproc: int) -> dict[str, str]:
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "")
    found = {PLACE: str(place), PARENT: str(os.getpid()), "ROBUSTREG_STORE": str(place / "store")}
    found["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # so that torchrun, too, listens nowhere
    given = {"OMP_NUM_THREADS": str(max(1, cores() // nproc))}
    if loopback:
        given |= dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), loopback)
    if sys.stdout.isatty():
        given["COLUMNS"] = str(shutil.get_terminal_size().columns)
    return found | {name: value for name, value in given.items() if name not in os.environ}


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:  # torchrun, too, leaves something behind
        os.environ.clear()
        os.environ.update(before)


def _watched(arguments: Sequence[str], nproc: int, place: Path) -> list[int]:
    """Start the processes, wait for their end, and return the exit codes of those that failed."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        run_id="robustreg",
        rdzv_backend="c10d",
        rdzv_endpoint=str(place / "rendezvous"),
        rdzv_configs={"store_type": "file"},  # nothing listens for others
        local_addr="localhost",
        max_restarts=0,  # an error is final, and only a death is not: `launch` knows which it was
        logs_specs=DefaultLogsSpecs(log_dir=str(place / "log")),
        signals_to_handle="SIGHUP,SIGQUIT",  # the others interrupt this process as any command
        shutdown_timeout=5,
    )
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGQUIT)}
    quiet = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        python, *flags = interpreter()
        elastic_launch(config, python)(*flags, "-m", "robustreg", *arguments)
    except ChildFailedError as error:
        return [failure.exitcode for failure in error.failures.values()]
    except SignalException as error:
        raise KeyboardInterrupt from error
    finally:
        logging.disable(quiet)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return []


def in_process(do: Callable[[], int]) -> int:
    """Do the command's work in one of several processes and return its exit code.

    In one that `launch` has started, what it prints and what it raises is left for `launch` to tell.
    """
    from ..distributed import PeerLostError, started
    from ..study.disk import write_whole

    place, rank = os.environ.get(PLACE), int(os.environ.get("RANK", 0)) if started() else 0
    if place is None:
        if rank:  # started by torchrun itself: only the first one has data to print
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return do()
    _end_with_parent()
    os.dup2(os.open(Path(place) / "out" if rank == 0 else os.devnull, os.O_WRONLY | os.O_CREAT), 1)
    try:
        code = do()
        sys.stdout.flush()
    except PeerLostError:
        return LOST
    except (Exception, SystemExit) as raised:
        error = blamed(raised)
        # Whole or not at all: where another process has failed, too, torchrun ends this one in the middle of anything.
        write_whole(Path(place) / f"{rank}.error", json.dumps([kind_of(error), str(error)]).encode())
        return error.exit_code
    if rank == 0:
        (Path(place) / "code").write_text(str(code))
    return 0


def _end_with_parent() -> None:
    """End this process at once where what has started it ends, or says so."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    end_with_parent()
    if os.getppid() != int(os.environ[PARENT]):  # it had ended before
        os._exit(LOST)
