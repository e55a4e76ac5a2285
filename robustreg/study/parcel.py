"""The work of a study as engines get it: called where the process was forked, unpacked where it has to be sent."""

from __future__ import annotations

import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from ..errors import PluginError, UsageError
from .plan import Plan, PlannedRun, versions

Do = Callable[..., Iterator[Any]]


@dataclass(frozen=True)
class StudyWork:
    """A function of plan, runs, `note` and the arguments of a task, and the study it works on.

    It can be pickled, by any pickler: cloudpickle makes bytes of what it holds, so that functions, models and classes
    that only this process knows go with it. Data go with it, too; what a worker can make itself does not. Where it is
    unpickled the versions are compared first, so an engine packs it once and each worker unpacks it once.
    """

    do: Do
    plan: Plan
    runs: Sequence[PlannedRun]

    def __call__(self, note: Callable[[Any], None], *arguments: Any) -> Iterator[Any]:
        """Do a task."""
        return self.do(self.plan, self.runs, note, *arguments)

    def __reduce__(self) -> tuple[Callable[..., StudyWork], tuple[Any, ...]]:
        try:
            import cloudpickle
        except ImportError:
            raise PluginError(
                "a study is sent to other machines by cloudpickle, which is not installed: pip install cloudpickle"
            ) from None
        try:
            content = cloudpickle.dumps((self.do, self.plan, self.runs))
        except Exception as error:  # whatever an object of the user raises when it is pickled
            raise UsageError(
                "this study cannot be sent to another process, because what it is made of cannot be pickled:"
                f" {type(error).__name__}: {error}. Engines serial and local need no pickling"
            ) from error
        return opened, (_versions(_used(self.plan)), [os.path.abspath(entry) for entry in sys.path], content)


def opened(sent: Mapping[str, str], path: Sequence[str], content: bytes) -> StudyWork:
    """Return the work that another process packed.

    Args:
        sent: the versions there of what decides the results.
        path: where Python looked for modules there; what is not looked at here is added at the end.
        content: the rest, pickled.

    Raises:
        PluginError: for other versions here, which would give other results, or code that is not here.
        UsageError: where there is no GPU, and the study is to be done on one: else each of its runs would fail.
    """
    here = _versions(sent)
    if others := [f"{name} is {here[name]} and was {sent[name]}" for name in sent if here[name] != sent[name]]:
        raise PluginError(
            f"the worker on {socket.gethostname()} has other versions than what began the study: {'; '.join(others)}."
            " Results would differ, so nothing is done there; install the same versions on every machine"
        )
    sys.path.extend(entry for entry in path if entry not in sys.path)
    try:
        work = StudyWork(*pickle.loads(content))
    except ImportError as error:
        raise PluginError(
            f"the worker on {socket.gethostname()} cannot import what the study is made of: {error}."
            " Install it there, too, or let every machine see the folder it is in"
        ) from error
    if torch.device(work.plan.device).type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"the study is of device {work.plan.device}, and torch finds no GPU for the worker on"
            f" {socket.gethostname()}; give each task one, as in --engine NAME:gpus=1, or say --device cpu"
        )
    return work


def _used(plan: Plan) -> list[str]:
    """The distributions that runs are made by: of regularizers, measures and the model."""
    model = plan.catalogue.origins.get(("models", plan.model_name.partition(":")[0]))
    measures = (plan.catalogue.origins["measures", name] for name in plan.measures())
    return [*plan.versions(), *(origin.distribution for origin in (model, *measures) if origin is not None)]


def _versions(names: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """The versions that are installed here; what comes from no distribution is nowhere."""
    core = versions()
    return {name: core.get(name) or _installed(name) for name in names}


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except (metadata.PackageNotFoundError, ValueError):
        return "not there"
