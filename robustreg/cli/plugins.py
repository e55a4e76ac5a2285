"""`robustreg plugins`: what is installed, and from where."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click

from .options import json_option
from .output import console, print_json, say
from .scaffold import scaffold, write

PLUGIN_ERROR = 4


@click.group("plugins")
def command() -> None:
    """List what is installed and from where, and what each thing takes."""


@command.command("list")
@json_option
def list_(as_json: bool) -> int:
    """List regularizers, attacks, measures, data sets, models and engines, and plugins that failed."""
    from rich.table import Table

    from ..plugins import discover

    catalogue = discover()
    rows = [
        {"name": name, "kind": kind.removesuffix("s"), "plugin": origin.plugin, "distribution": origin.distribution,
         "version": origin.version, "status": "ok", "about": _about(catalogue.offers[kind][name])}
        for (kind, name), origin in catalogue.origins.items()
    ]  # fmt: skip
    for failure in catalogue.failures:
        origin = failure.origin
        rows.append(
            {"name": origin.plugin, "kind": "plugin", "plugin": origin.plugin, "distribution": origin.distribution,
             "version": origin.version, "status": "failed", "about": failure.message}
        )  # fmt: skip
    if as_json:
        print_json(rows)
        return 0
    table = Table("kind", "name", "from", "what it is", show_lines=False)
    for row in rows:
        from_ = f"{row['distribution']} {row['version']}"
        table.add_row(row["kind"], row["name"], from_, f"{'FAILED: ' * (row['status'] == 'failed')}{row['about']}")
    console().print(table)
    return 0


@command.command("info")
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> int:
    """Say what NAME does, where it comes from, and what can be set."""
    from ..errors import UsageError, suggest
    from ..plugins import KINDS, discover

    catalogue = discover()
    found = [kind for kind in KINDS if name in catalogue.offers[kind]]
    if not found:
        known = {name for kind in KINDS for name in catalogue.offers[kind]}
        raise UsageError(f"nothing installed is called {name!r}.{suggest(name, known)} All: robustreg plugins list")
    described = [_describe(kind, catalogue.offers[kind][name], catalogue.origins[kind, name]) for kind in found]
    if as_json:
        print_json(described[0] if len(described) == 1 else described)
        return 0
    out = console()
    for about in described:
        out.print(f"{about['kind']} {about['name']}, from {about['distribution']} {about['version']}", markup=False)
        out.print(about["about"], markup=False)
        if about.get("problem"):
            out.print(f"Cannot be used here: {about['problem']}", markup=False)
        for option in about["options"]:
            out.print(
                f"  {option['name']} = {option['default']}   {option['range']}   {option['doc']}".rstrip(), markup=False
            )
    return 0


@command.command("check")
@click.argument("name")
@json_option
def check(name: str, as_json: bool) -> int:
    """Check that the regularizer NAME keeps the laws that every run relies on."""
    from ..plugins import discover
    from ..testing import check as judge

    catalogue = discover()
    offered = catalogue.get("regularizers", name)
    rejected = [str(failure) for failure in catalogue.failures]
    for failure in rejected:
        say(f"Warning: {failure}")
    rows = judge(offered)
    broken = sum(row["status"] == "failed" for row in rows)
    if as_json:
        print_json({"name": name, "checks": rows, "rejected": rejected})
    else:
        out = console()
        for row in rows:
            out.print(f"{row['status']}: {row['check'].replace('_', ' ')}", markup=False)
            if row["message"]:
                out.print(f"    {row['message']}", markup=False)
        out.print(f"{name} from {catalogue.origins['regularizers', name]}: {broken} of {len(rows)} laws broken")
    # A plugin that offers the name in vain is not the one that was checked.
    return PLUGIN_ERROR if broken or any(failure.name == name for failure in catalogue.failures) else 0


@command.command("new")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder to make [robustreg-NAME].")
@json_option
def new(name: str, out: Path | None, as_json: bool) -> int:
    """Write a plugin with a regularizer called NAME that works, to begin from: module, test and packaging."""
    from ..errors import UsageError
    from ..plugins import discover

    files = scaffold(name)
    origin = discover().origins.get(("regularizers", name))
    if origin is not None:
        raise UsageError(f"{origin} has a regularizer called {name!r} already; choose another name")
    folder = out or Path(f"robustreg-{name.replace('_', '-')}")
    paths = [str(path) for path in write(files, folder)]
    if as_json:
        print_json({"name": name, "files": paths})
        return 0
    for path in paths:
        click.echo(path)
    say(f"Next: pip install -e '{folder}[test]', then robustreg plugins check {name}")
    return 0


def _about(offer: Any) -> str:
    text = getattr(offer, "about", None) or inspect.getdoc(offer) or ""
    problem = _problem(offer)
    about = str(text).strip().splitlines()[0] if text else ""
    return f"{about} Cannot be used here: {problem}" if problem else about


def _problem(offer: Any) -> str:
    """Why an engine cannot be used here; empty where it can, and for what is no engine."""
    from ..engines import EngineSource, problem_of

    return problem_of(offer) if isinstance(offer, EngineSource) else ""


def _describe(kind: str, offer: Any, origin: Any) -> dict[str, Any]:
    if kind == "regularizers":
        about = inspect.getdoc(offer) or ""
        options = [
            {"name": f"{name} ({knob.symbol})" if knob.symbol else name, "default": knob.default,
             "range": knob.range(), "doc": knob.doc}
            for name, knob in offer.knobs.items()
        ]  # fmt: skip
    else:
        function = getattr(offer, "build", None) or getattr(offer, "load", None) or getattr(offer, "run", None)
        function = function or getattr(offer, "start", None)
        about = "\n".join(filter(None, (getattr(offer, "about", ""), inspect.getdoc(function) if function else "")))
        options = _options(function) if function else []
    described = {
        "name": offer.name,
        "kind": kind.removesuffix("s"),
        "distribution": origin.distribution,
        "version": origin.version,
        "about": about,
        "options": options,
    }
    return described | ({"problem": _problem(offer)} if kind == "engines" else {})


def _options(function: Any) -> list[dict[str, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [
        {"name": p.name, "default": None if p.default is p.empty else p.default, "range": "", "doc": ""}
        for p in parameters
        if p.kind is p.KEYWORD_ONLY or (p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty)
    ]
