"""`-f study.toml`: options from a file, checked as they would be on the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError, suggest
from .values import Numbers, Words

LARGEST = 1 << 20  # bytes of a TOML file


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return what a TOML file holds; a UsageError for one that cannot be read, is none, or is too large."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        return tomllib.loads(content.decode())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
    except RecursionError:
        raise UsageError(f"{path}: its arrays or tables are nested too deeply") from None


def read_file(ctx: click.Context, param: click.Parameter, path: str | None) -> str | None:
    """Take the options of a TOML file as defaults, so that what is typed goes before what is in the file."""
    if path is None:
        return None
    values = read_toml(path)
    values = values.get("study", values)
    if not isinstance(values, dict):
        raise UsageError(f"{path}: study must be a table, [study], got {values!r:.60}")
    parameters = {_typed_name(each): each for each in ctx.command.params if each.name != param.name}
    if parameters.pop("json", None) is not None and "json" in values:
        raise UsageError(f"{path}: json is no setting of a study; say --json")
    found = {}
    for key, value in values.items():
        parameter = parameters.get(key.replace("-", "_"))
        if parameter is None:
            raise UsageError(f"{path}: no setting is called {key!r}.{suggest(key, parameters)}")
        found[parameter.name] = _typed(ctx, value, parameter, f"{path}: {key}")
    ctx.default_map = {**(ctx.default_map or {}), **found}
    return path


def _typed_name(parameter: click.Parameter) -> str:
    """Return what a user calls a parameter, whatever the code calls it."""
    return max(parameter.opts, key=len).lstrip("-").replace("-", "_")


def _typed(ctx: click.Context, value: Any, parameter: click.Parameter, where: str) -> Any:
    """Return a value of a TOML file as its option would get it from the command line; a UsageError if it could not."""
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int | float) and "\0" not in str(item) for item in items):
        raise UsageError(f"{where} must be text, a number, true or false, or a list of these, got {value!r:.60}")
    several = parameter.nargs != 1 or parameter.multiple
    if isinstance(parameter.type, Numbers | Words):
        _convert(ctx, value, parameter, where)
        return value
    if several != isinstance(value, list):
        raise UsageError(f"{where} takes {'a list' if several else 'one value'}, got {value!r:.60}")
    found = [str(item).lower() if isinstance(item, bool) else str(item) for item in items]
    _convert(ctx, found if several else found[0], parameter, where)
    return found if several else found[0]


def _convert(ctx: click.Context, value: Any, parameter: click.Parameter, where: str) -> None:
    """Raise a UsageError that names the file for what the option would not take: on its own, it would name none."""
    try:
        parameter.type_cast_value(ctx, value)
    except click.BadParameter as error:
        said = _KINDS.get(parameter.type.name.removesuffix(" range"))
        outside = "in the range" in error.message
        raise UsageError(f"{where}: {error.message if outside or not said else f'{value!r} is not {said}'}") from error


_KINDS = {"integer": "a whole number", "float": "a number", "boolean": "true or false"}
