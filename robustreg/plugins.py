"""Discover what is installed: built-ins and strangers' plugins, one by one, with failures kept.

Installed is not active: a regularizer acts only when it is named. Broken is not dead: a plugin that cannot be loaded
is listed with its distribution and version, and stops nothing else.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, cast

import pluggy
from pluggy import HookImpl

from . import hookspecs
from .errors import PluginError, UsageError, suggest

KINDS = ("regularizers", "attacks", "measures", "datasets", "models", "engines")
ENGINES = "robustreg.engines"  # the only room of these that does without torch
BUILT_IN = ("robustreg.regularizers", "robustreg.attacks", "robustreg.measures", "robustreg.data", "robustreg.models",
            ENGINES)  # fmt: skip
ALLOWED = "ROBUSTREG_PLUGINS"  # environment: names of the entry points to load, comma-separated; all when unset


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version})"


@dataclass(frozen=True)
class Failure:
    """A plugin, or one thing it offers, that cannot be used, and why."""

    origin: Origin
    message: str
    name: str = ""  # of the one thing, where it has one

    def __str__(self) -> str:
        return f"plugin {self.origin}: {self.message}"


@dataclass
class Catalogue:
    """Everything that can be named, by kind and name."""

    offers: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    origins: dict[tuple[str, str], Origin] = field(default_factory=dict)
    commands: list[tuple[Origin, HookImpl]] = field(default_factory=list)
    loaded: list[Origin] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def get(self, kind: str, name: str) -> Any:
        """Return what is offered under `name`, or raise a UsageError with the closest name."""
        try:
            return self.offers[kind][name]
        except KeyError:
            word = {"datasets": "data set"}.get(kind, kind.removesuffix("s"))
            broken = "".join(f"\n{failure}" for failure in self.failures)
            raise UsageError(
                f"unknown {word} {name!r}.{suggest(name, self.offers[kind])}"
                f" All: {', '.join(self.offers[kind])}{broken}"
            ) from None

    def add(self, kind: str, origin: Origin, offer: Any) -> None:
        """Add one offer; a name that is taken is an error of the plugin that comes later."""
        name = getattr(offer, "name", None)
        if not isinstance(name, str) or not name:
            raise PluginError(f"{kind}() offers {offer!r:.80}, which has no `name`")
        if name in self.offers[kind]:
            raise PluginError(
                f"{kind}() offers the name {name!r}, which {self.origins[kind, name]} has already; rename one of them"
            )
        self.offers[kind][name] = offer
        self.origins[kind, name] = origin


def discover(strangers: Iterable[metadata.EntryPoint] | None = None, *, rooms: Iterable[str] = BUILT_IN) -> Catalogue:
    """Load the built-ins and the plugins of entry-point group `robustreg`, and return all they offer.

    Args:
        strangers: entry points to load instead of the installed ones.
        rooms: the modules that offer what is built in.
    """
    catalogue = Catalogue()
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs.Catalogue)
    version = metadata.version("robustreg")
    for name in rooms:
        _take(catalogue, manager, Origin(name, "robustreg", version), importlib.import_module(name))
    for entry in _installed() if strangers is None else strangers:
        origin = Origin(entry.name, *(_distribution(entry)))
        try:
            with redirect_stdout(sys.stderr):  # what a plugin prints is no data
                module = entry.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything at import, SystemExit included
            catalogue.failures.append(Failure(origin, f"could not be loaded: {type(error).__name__}: {error}"))
            continue
        _take(catalogue, manager, origin, module)
    return catalogue


def discover_engine(name: str) -> Catalogue:
    """Return a catalogue that has the engine `name`, if there is one, from as few plugins as it takes to find it.

    Those are the built-in ones, then the plugin whose entry point has the name of the engine, and only then all: a
    command line that names an engine is judged before torch is imported, where that can be.
    """
    for strangers in ([], [entry for entry in _installed() if entry.name == name], None):
        catalogue = discover(strangers, rooms=[ENGINES])
        if name in catalogue.offers["engines"]:
            break
    return catalogue


def _installed() -> list[metadata.EntryPoint]:
    found = sorted(metadata.entry_points(group=hookspecs.PROJECT), key=lambda entry: entry.name)
    allowed = os.environ.get(ALLOWED)
    return found if allowed is None else [entry for entry in found if entry.name in allowed.split(",")]


def _distribution(entry: metadata.EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist is not None else ("no distribution", "")


def _take(catalogue: Catalogue, manager: pluggy.PluginManager, origin: Origin, module: object) -> None:
    """Register one plugin and collect its offers; whatever it does wrong becomes a failure of its own."""
    try:
        manager.register(module, name=origin.plugin)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        catalogue.failures.append(Failure(origin, str(error)))
        if manager.has_plugin(origin.plugin):
            manager.unregister(name=origin.plugin)
        return
    catalogue.loaded.append(origin)
    for caller in manager.get_hookcallers(module) or ():
        impl = next(impl for impl in caller.get_hookimpls() if impl.plugin is module)
        if caller.name == "commands":
            catalogue.commands.append((origin, impl))
            continue
        try:
            with redirect_stdout(sys.stderr):
                offers = list(cast(Iterable[Any], impl.function()))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            message = f"{caller.name}() failed: {type(error).__name__}: {error}"
            catalogue.failures.append(Failure(origin, message))
            continue
        for offer in offers:
            try:
                catalogue.add(caller.name, origin, offer)
            except PluginError as error:
                catalogue.failures.append(Failure(origin, str(error), str(getattr(offer, "name", ""))))
