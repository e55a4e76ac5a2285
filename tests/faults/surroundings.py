"""Odd surroundings: clocks, folders, names, terminals, locales. A command works, or says what is in its way."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .nursery import ROOT, Ended, Nursery
from .outcome import Outcome
from .small import State, command, state

REFUSED = 5
NAMES = {
    "spaces": " a study  of mine ",
    "other scripts": "Straße 学習 модель é",
    "200 characters": "n" * 200,
    "signs of the shell": "$HOME; 'quoted' \"twice\" & `so`",
    "a line's end and a colour": "two\nlines \x1b[31m",
}
# From some call on the clock is another: of a lock, of a row, of what is left.
JUMP = """
import time
real, calls = time.time, []

def jumps():
    calls.append(1)
    return real() + ({seconds} if len(calls) > {call} else 0)

time.time = jumps
"""
# Even for root a folder is then what its mode says.
NO_POWERS = """
import ctypes
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc = ctypes.CDLL(None)
libc.capget(header, data)
data[0] &= ~0b110
libc.capset(header, data)
"""
NO_HOME = "import os; os.environ.pop('HOME', None)"
BAD_HOME = "import os; os.environ['HOME'] = '/no/such/home'"
WIDTH = "import os; os.environ['COLUMNS'] = '{width}'"
TERMINAL = "import os\nfor n in (0, 1, 2): os.dup2(os.open({path!r}, os.O_RDWR), n)"
LOCALES = {
    "LANG=C": {"LANG": "C", "LC_ALL": "C"},
    "LANG=C, nothing but ASCII": {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "Latin-1": {"PYTHONIOENCODING": "latin1"},
}


def surroundings(nursery: Nursery, folder: Path, *, short: bool = False) -> Outcome:
    """Do a small study in each of them, and go on with it, tell of it and report it; `short`: in some of them."""
    found = Outcome(13, "clocks, read-only folders, names, no home, terminals")
    nursery.run(command(folder / "whole"))
    whole = state(folder / "whole")
    for what, name in [*NAMES.items()][:: 3 if short else 1]:
        _named(nursery, folder / "names" / name, what, whole, found)
    for seconds in (-86400, -1e9, 3e8)[: 1 if short else 3]:
        _clock(nursery, folder / f"clock{seconds:g}", seconds, whole, found)
    _future(nursery, folder / "future", whole, found)
    _read_only(nursery, folder, whole, found)
    for what, setup in {} if short else {"no HOME": NO_HOME, "a HOME that is not there": BAD_HOME}.items():
        ended = nursery.run(command(folder / what), setup=setup)
        _well(found, what, ended, state(folder / what).results == whole.results)
    for width in (40,) if short else (40, 80):
        ended = nursery.run(["report", str(folder / "whole"), "--no-figures"], setup=WIDTH.format(width=width))
        table = [line for line in ended.out.splitlines() if not line.startswith(str(folder))]
        _well(found, f"{width} columns", ended, max(map(len, table)) <= width, f"{max(map(len, table))} columns")
        with terminal(width) as path:
            ended = nursery.run(command(folder / f"t{width}"), setup=TERMINAL.format(path=path))
        _well(found, f"a terminal of {width} columns", ended, state(folder / f"t{width}").results == whole.results)
    return found


def locales(folder: Path, names: Sequence[str] = tuple(LOCALES)) -> Outcome:
    """Do a small study in a process of its own in each of these locales; and with no streams at all."""
    found = Outcome(13, "locales, no HOME, no terminal, closed streams")
    asked = [sys.executable, "-m", "robustreg", *command(folder / "größer", arms=["none", "l2:1e-3"])]
    base = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}
    for what in names:
        done = subprocess.run(asked, env=base | LOCALES[what], stdin=subprocess.DEVNULL, capture_output=True)
        err = done.stderr.decode(errors="replace")
        found.check(done.returncode == 0 and "Traceback" not in err, f"{what}: exit {done.returncode}: {err[-300:]}")
        found.check(len(done.stdout) > 500, f"{what}: it printed {done.stdout[-300:]!r}")
        found.count += 1
    shell = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *asked[:-1], str(folder / "closed")]
    code = subprocess.run(shell, env=base, check=False).returncode
    found.check(code == 0 and (folder / "closed" / "results.json").exists(), f"closed streams: exit {code}")
    found.count += 1
    return found


def _well(found: Outcome, what: str, ended: Ended, holds: bool = True, says: str = "other results") -> None:
    found.check(ended.code == 0 and "Traceback" not in ended.err, f"{what}: exit {ended.code}: {ended.err[-300:]}")
    found.check(holds, f"{what}: {says}")
    found.count += 1


def _named(nursery: Nursery, study: Path, what: str, whole: State, found: Outcome) -> None:
    ended = nursery.run(command(study))
    _well(found, what, ended, state(study).results == whole.results)
    for name in ("status", "report", "resume", "verify"):
        more = ["--no-figures"] if name in ("report", "resume") else []
        ended = nursery.run([name, str(study), *more])
        told = ended.out.replace("\n", "") + ended.err.replace("\n", "")
        found.check(ended.code == 0 and told.isprintable(), f"{what}: {name}: exit {ended.code}: {ended.err[-300:]}")


def _clock(nursery: Nursery, study: Path, seconds: float, whole: State, found: Outcome) -> None:
    """The clock jumps while a study runs; it is cut off, told about, and gone on with by the right clock."""
    ended = nursery.run(command(study), setup=JUMP.format(seconds=seconds, call=4))
    _well(found, f"clock {seconds:+g} s", ended, state(study).results == whole.results)
    before = state(study).finished
    again = nursery.run(command(study))
    found.check(again.code == 0 and state(study).finished == before, f"clock {seconds:+g} s: done again")
    told = nursery.run(["status", str(study)], setup=JUMP.format(seconds=-seconds, call=0))
    found.check(told.code == 0 and "-" not in told.out.split(":")[-1], f"clock {seconds:+g} s: {told.out}")


def _future(nursery: Nursery, study: Path, whole: State, found: Outcome) -> None:
    """A lock from the future, and of a time that no calendar has, of a process that is gone: neither holds anything."""
    for since in (4e9, 1e300):
        nursery.run(command(study))
        db = sqlite3.connect(study / "study.db", isolation_level=None)
        db.execute("DELETE FROM runs WHERE rowid > 3")
        host = os.uname().nodename
        db.execute("INSERT OR REPLACE INTO coordinator VALUES (1, 999999999, ?, 'never', ?)", (host, since))
        db.close()
        told = nursery.run(["status", str(study)])
        found.check(
            told.code == 0 and "Not running, and cut off" in told.out, f"since {since:g}: {told.out + told.err}"
        )
        ended = nursery.run(["resume", str(study), "--no-figures"])
        _well(found, f"a lock since {since:g}", ended, state(study).results == whole.results)


def _read_only(nursery: Nursery, folder: Path, whole: State, found: Outcome) -> None:
    study = folder / "read-only"
    shutil.copytree(folder / "whole", study)
    for path in (study, *study.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    name = str(study)
    wanted = {
        ("status", name): 0,
        ("verify", name): 0,
        ("report", name, "--no-figures", "--out", str(folder / "elsewhere")): 0,
        ("report", name, "--no-figures"): REFUSED,
        ("resume", name, "--no-figures"): REFUSED,
        ("resume", name, "--salvage", "--no-figures"): REFUSED,
        (*command(study / "inner"),): REFUSED,
    }
    for asked, code in wanted.items():
        ended = nursery.run(list(asked), setup=NO_POWERS)
        where = f"read-only: {' '.join(asked[:1])}"
        found.check(
            ended.code == code and "Traceback" not in ended.err, f"{where}: exit {ended.code}: {ended.err[-300:]}"
        )
        found.check(code == 0 or name in ended.err, f"{where}: it does not say what: {ended.err}")
        found.check("damaged" not in ended.err, f"{where}: what is sound is called damaged: {ended.err}")
        found.count += 1
    found.check(state(folder / "elsewhere").results == whole.results, "read-only: another report elsewhere")
    for path in (study, *study.rglob("*")):
        path.chmod(0o755)


@contextmanager
def terminal(width: int) -> Iterator[str]:
    """Give the path of a terminal that has so many columns; what is drawn on it is read and dropped."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def drop() -> None:
        while not os.read(ours, 65536).endswith(b"\x04"):
            pass

    reader = threading.Thread(target=drop, daemon=True)
    reader.start()
    yield os.ttyname(theirs)
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSADRAIN, attributes)
    os.write(theirs, b"\x04")
    reader.join(5)
    os.close(theirs)
    os.close(ours)
