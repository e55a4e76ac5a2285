"""The faults of this bench on studies of Optuna, used as its documentation says: a restart loads the study by name."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from .alone import alone

TRIALS = 8
A_TRIAL = 0.05  # seconds
GRACE = 2  # seconds after which a trial without a heartbeat counts as stale
KINDS = ("journal", "SQLite", "SQLite, heartbeat and retry")
CUTS = (1, 7, 60)


def storage(kind: str, path: Path) -> Any:
    """Return the storage of a kind in a file."""
    if kind == KINDS[0]:
        return JournalStorage(JournalFileBackend(str(path)))
    beats: dict[str, Any] = {}
    if kind == KINDS[2]:
        beats = {"heartbeat_interval": 1, "grace_period": GRACE,
                 "heartbeat_stale_trial_callback": _retry()}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return RDBStorage(f"sqlite:///{path}", **beats)


def _retry() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return RetryHeartbeatStaleTrialCallback()


def optimize(kind: str, path: Path, die_at: int = -1) -> None:
    """Do trials until 8 are complete; die by SIGKILL within the trial of a number."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        time.sleep(A_TRIAL / 2)
        if trial.number == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(A_TRIAL / 2)
        return x * x

    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=storage(kind, path), study_name="s", load_if_exists=True, sampler=sampler)
    enough = MaxTrialsCallback(TRIALS, states=(TrialState.COMPLETE,))
    if sum(trial.state is TrialState.COMPLETE for trial in study.trials) < TRIALS:
        study.optimize(objective, callbacks=[enough])


def told(kind: str, path: Path) -> list[tuple[Any, ...]]:
    """Return number, state, parameters and value of every trial that a file holds."""
    study = optuna.load_study(storage=storage(kind, path), study_name="s")
    return [(trial.number, trial.state.name, tuple(trial.params.items()), trial.values) for trial in study.trials]


def killed(kind: str, folder: Path, times: int) -> str:
    """Kill the process of a study, in a trial or at a moment, start it again, and say what is there in the end."""
    running = lost = short = 0
    alone(optimize, kind, folder / "calm")
    began = time.monotonic()
    alone(optimize, kind, folder / "timed")
    whole = time.monotonic() - began
    for at in range(times):
        path = folder / f"killed-{at}"
        draw = random.Random(f"optuna {at}")
        if at % 2:
            alone(optimize, kind, path, draw.randrange(TRIALS))
        else:
            alone(optimize, kind, path, kill_after=draw.uniform(0.5, 0.95) * whole)
        before = _states(kind, path)
        if "heartbeat" in kind:
            time.sleep(GRACE + 1)
        alone(optimize, kind, path)
        after = _states(kind, path)
        running += after["RUNNING"] > 0
        lost += after["COMPLETE"] < before["COMPLETE"]
        short += after["COMPLETE"] < TRIALS
    return f"{short + lost} of {times} end with fewer than {TRIALS} trials; {running} of {times} keep one RUNNING"


def worker_killed(kind: str, folder: Path, times: int) -> str:
    """Kill one of two processes that work on a study, in a trial, and say what is there once the other is done."""
    running = missing = 0
    for at in range(times):
        path = folder / f"worker-{at}"
        alone(_two, kind, path, at % (TRIALS - 1) + 1)
        after = _states(kind, path)
        running += after["RUNNING"]
        missing += max(0, TRIALS - after["COMPLETE"])
    return f"{missing} of {times * TRIALS} missing; {running} of {times} keep one RUNNING"


def _two(kind: str, path: Path, die_at: int) -> None:
    optuna.create_study(storage=storage(kind, path), study_name="s")
    pids = []
    for _ in range(2):
        pids.append(os.fork())
        if not pids[-1]:
            try:
                optimize(kind, path, die_at)
            finally:
                os._exit(0)
    for pid in pids:
        os.waitpid(pid, 0)


def cut(kind: str, folder: Path) -> str:
    """Cut the last bytes off a finished study, load it and go on with it, twice, and say what comes of that."""
    alone(optimize, kind, folder / "whole")
    found = []
    for size in CUTS:
        path = folder / f"cut-{size}"
        path.write_bytes((folder / "whole").read_bytes()[:-size])
        loads = _loads(kind, path)
        goes_on = [alone(_one_more, kind, path) for _ in range(2)]
        found.append(f"{loads}, {'goes on' if goes_on == [0, 0] else 'cannot go on'}")
    return "; ".join(f"{', '.join(str(s) for s, f in zip(CUTS, found, strict=True) if f == one)}: {one}"
                     for one in dict.fromkeys(found))  # fmt: skip


def _one_more(kind: str, path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study = optuna.load_study(storage=storage(kind, path), study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)


def flipped(kind: str, folder: Path, times: int) -> str:
    """Flip one bit of a finished study, so many times, and say how often other numbers are told without a word."""
    alone(optimize, kind, folder / "flip")
    content, whole = (folder / "flip").read_bytes(), told(kind, folder / "flip")
    codes: Counter[str] = Counter()
    for at in range(times):
        draw = random.Random(f"flip {at}")
        changed = bytearray(content)
        changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path = folder / "flipped"
        path.write_bytes(changed)
        try:
            codes["same" if told(kind, path) == whole else "other numbers, silently"] += 1
        except Exception:
            codes["refused"] += 1
    return ", ".join(f"{codes[what]} {what}" for what in ("same", "refused", "other numbers, silently"))


def full_disk(kind: str, folder: Path, times: int) -> str:
    """Let no file grow beyond some size, then give room again, and say what is there."""
    alone(optimize, kind, folder / "roomy")
    largest = (folder / "roomy").stat().st_size
    ended = gone = running = 0
    for at in range(times):
        path = folder / f"full-{at}"
        first = 600 if kind == KINDS[0] else largest // 2  # a store of SQLite is half as large when it is empty
        code = alone(optimize, kind, path, limit=random.Random(f"full {at}").randint(first, largest))
        if "heartbeat" in kind:
            time.sleep(GRACE + 1)
        again = alone(optimize, kind, path)
        states = _states(kind, path) if not again else Counter()
        ended += code != 0
        gone += again != 0
        running += states["RUNNING"] > 0
    return f"{ended} of {times} ended by an exception; with room again {gone} cannot go on, {running} keep one RUNNING"


def _loads(kind: str, path: Path) -> str:
    try:
        return f"loads {sum(state == 'COMPLETE' for _, state, *_ in told(kind, path))} of {TRIALS}"
    except Exception as error:
        return type(error).__name__


def _states(kind: str, path: Path) -> Counter[str]:
    try:
        return Counter(state for _, state, *_ in told(kind, path))
    except Exception:  # there is no study yet, or none any more
        return Counter()


def clear(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
