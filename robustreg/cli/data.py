"""`robustreg data`: the data sets."""

from __future__ import annotations

from typing import Any

import click

from .options import json_option
from .output import console, print_json, say


@click.group("data")
def command() -> None:
    """List data sets, describe one, or fetch one."""


@command.command("list")
@json_option
def list_(as_json: bool) -> int:
    """List the data sets: shape, classes, licence, size, here or to be fetched."""
    from rich.table import Table

    from ..plugins import discover

    rows = [_describe(source) for source in discover().offers["datasets"].values()]
    if as_json:
        print_json(rows)
        return 0
    table = Table("name", "image", "classes", "images", "download", "here", "licence")
    for row in rows:
        shape = "x".join(map(str, row["shape"])) if row["shape"] else "any"
        size = f"{row['size'] / 1e6:.0f} MB" if row["size"] else "-"
        table.add_row(
            row["name"], shape, str(row["classes"] or "any"), f"{row['images']:,}" if row["images"] else "any", size,
            "yes" if row["cached"] else "no", row["licence"],
        )  # fmt: skip
    console().print(table)
    return 0


@command.command("info")
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> int:
    """Describe a data set; NAME may carry options, as in folder:PATH, and then the data is read too."""
    from ..data import load_data
    from ..plugins import discover

    catalogue = discover()
    source = catalogue.get("datasets", name.partition(":")[0])
    about = _describe(source)
    if ":" in name:
        splits = load_data(name, sources=catalogue.offers["datasets"].values(), say=say)
        about |= {
            "shape": list(splits.shape),
            "classes": len(splits.classes),
            "class_names": list(splits.classes),
            "images": sum(len(split) for split in (splits.train, splits.val, splits.test)),
            "splits": {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)},
            "notes": list(splits.notes),
        }
    if as_json:
        print_json(about)
        return 0
    for key, value in about.items():
        console().print(f"{key}: {value}", markup=False)
    return 0


@command.command("get")
@click.argument("name")
@json_option
def get(name: str, as_json: bool) -> int:
    """Fetch a data set into the cache, showing its licence first."""
    from ..data import fetch_data
    from ..plugins import discover

    catalogue = discover()
    source = fetch_data(name, sources=catalogue.offers["datasets"].values(), say=say)
    about = _describe(source)
    if as_json:
        print_json(about)
    else:
        console().print(f"{source.name} is here.", markup=False)
    return 0


def _describe(source: Any) -> dict[str, Any]:
    classes = source.classes
    return {
        "name": source.name,
        "about": source.about,
        "shape": list(source.shape) if source.shape else None,
        "classes": classes if classes is None or isinstance(classes, int) else len(classes),
        "images": source.images,
        "licence": source.licence,
        "source": source.source,
        "size": source.size,
        "cached": bool(source.cached()),
    }
