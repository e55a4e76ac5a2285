"""Regularizers that misbehave in a hook, beside one that does not: the others' runs are done, to the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from .interrupts import is_one_document
from .kills import ENGINES
from .nursery import Nursery
from .outcome import Outcome
from .small import ARMS, RUNS, command, state

SETUP = """
import os, random, sys, time
import torch
import robustreg as rr
import robustreg.plugins as plugins
from robustreg.plugins import Origin

def {hook}(self{arguments}):
    {body}

Bad = type("Bad", (rr.Regularizer,), {{"name": "bad", "__doc__": "Bad.", "__module__": "bad",
                                      "{hook}": rr.hookimpl({hook})}})
real = plugins.discover

def discover(*given, **how):
    catalogue = real(*given, **how)
    catalogue.add("regularizers", Origin("bad", "robustreg-bad", "1.0"), Bad)
    return catalogue

plugins.discover = discover
"""
HOOKS = {
    "prepare": "model", "batch": "x, y", "penalty": "x", "learning_rate": "progress", "after_epoch": "epoch",
    "finish": "model",
}  # fmt: skip
SINS = {
    "raises": "raise ArithmeticError('no\\x1b[31m <b>')",
    "exits": "sys.exit(3)",
    "returns nonsense": "return object()",
    "returns NaN": "return torch.tensor(float('nan'))",
}
MILD = {  # what is no failure: the run goes on
    "prints": "print('a line of a plugin'); os.write(1, b'bytes of a plugin'); return {nothing}",
    "draws from the global stream": "torch.rand(7); random.random(); return {nothing}",
    "reseeds the global stream": "torch.manual_seed(1); random.seed(1); return {nothing}",
}
NOTHING = {"batch": "x, y", "learning_rate": "1.0", "penalty": "{'bad': x.sum() * 0}"}
DEATHS = {"ends its process": "os._exit(7)", "kills its process": "os.kill(os.getpid(), 9)"}


def cases(short: bool) -> list[tuple[str, str, str, str, bool]]:
    """Return name, hook, body, engine of each case, and whether the runs of the plugin fail.

    Args:
        short: a few of them: every sin, in one hook each.
    """
    found = []
    for at, hook in enumerate(HOOKS):
        for number, (sin, body) in enumerate({**SINS, **MILD, **DEATHS}.items()):
            engine = ENGINES[1] if sin in DEATHS else ENGINES[(at + number) % 2]
            if not short or number % len(HOOKS) == at:
                found.append((sin, hook, body.replace("{nothing}", NOTHING.get(hook, "None")), engine, sin not in MILD))
    return found


def bad_plugins(nursery: Nursery, folder: Path, *, short: bool = False) -> Outcome:
    """Do a study with each bad regularizer as one of its arms."""
    found = Outcome(9, "regularizers that misbehave in a hook")
    nursery.run(command(folder / "without"))
    others = state(folder / "without").models
    harmless = SETUP.format(hook="after_epoch", arguments="", body="pass")
    nursery.run(command(folder / "calm", arms=[*ARMS, "bad"]), setup=harmless)
    calm = {name: data for name, data in state(folder / "calm").models.items() if name in others}
    found.check(len(calm) == len(others) == RUNS, "the undisturbed study is not whole")
    for sin, hook, body, engine, fails in cases(short):
        study = folder / "study"
        arguments = "".join(f", {name}" for name in HOOKS[hook].split(", "))
        setup = SETUP.format(hook=hook, arguments=arguments, body=body)
        ended = nursery.run([*command(study, engine, [*ARMS, "bad"]), "--json"], setup=setup)
        where = f"{sin} in {hook} ({engine})"
        found.count += 1
        found.check(ended.orphans == 0, f"{where}: {ended.orphans} processes outlived it")
        found.check("Traceback" not in ended.err, f"{where}: {ended.err[-400:]}")
        found.check(ended.code == int(fails), f"{where}: exit {ended.code}: {(ended.err + ended.out)[-300:]}")
        found.check(is_one_document(ended.out), f"{where}: standard output is {ended.out[:200]!r}")
        if ended.code in (0, 1) and is_one_document(ended.out):
            status, reasons = _of_bad(ended.out)
            wanted = {"ok"} if not fails else {"failed", "diverged"}
            found.check(status <= wanted, f"{where}: {status}")
            found.check(all(map(str.isprintable, reasons)), f"{where}: {reasons}")
            same = calm.items() <= state(study).models.items()
            found.check(same, f"{where}: the other arms came out differently")
        shutil.rmtree(study, ignore_errors=True)
    return found


def hanging_plugins(nursery: Nursery, folder: Path, hooks: Sequence[str] = tuple(HOOKS)) -> Outcome:
    """Do a study with a regularizer that hangs in each of these hooks, under a limit of seconds a run."""
    found = Outcome(9, "regularizers that hang in a hook, under --run-seconds 2")
    nursery.run(command(folder / "without"))
    others = state(folder / "without").models
    for at, hook in enumerate(hooks):
        study, engine = folder / hook, ("auto", ENGINES[1])[at % 2]
        arguments = "".join(f", {name}" for name in HOOKS[hook].split(", "))
        body = "time.sleep(600)" if at % 3 else "\n    while True: pass"
        setup = SETUP.format(hook=hook, arguments=arguments, body=body)
        options = ["--seeds", "1", "--run-seconds", "2", "--json"]
        ended = nursery.run([*command(study, engine, [*ARMS, "bad"]), *options], setup=setup)
        where = f"{hook} ({engine})"
        found.count += 1
        found.check(ended.code == 1 and not ended.orphans, f"{where}: exit {ended.code}: {ended.err[-300:]}")
        found.check(is_one_document(ended.out), f"{where}: standard output is {ended.out[:200]!r}")
        if is_one_document(ended.out):
            status, reasons = _of_bad(ended.out)
            found.check(status == {"failed"} and all("2 s" in each for each in reasons), f"{where}: {status} {reasons}")
        kept = state(study).models
        found.check(kept.items() <= others.items() and len(kept) == RUNS // 2, f"{where}: {len(kept)} other models")
        found.most("most seconds", ended.seconds)
    return found


def _of_bad(text: str) -> tuple[set[str], set[str]]:
    arms = {arm["arm"]: arm["runs"] for arm in json.loads(text)["arms"]}
    runs = next(runs for name, runs in arms.items() if name.startswith("bad"))
    return {run["status"] for run in runs}, {run.get("reason", "") for run in runs}
