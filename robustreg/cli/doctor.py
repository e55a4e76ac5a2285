"""`robustreg doctor`: what runs here, and what does not: the text to paste into an issue."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

import click

from ..engines import EngineSource, cores, problem_of
from .options import json_option
from .output import console, print_json

if TYPE_CHECKING:
    from ..plugins import Catalogue

PLUGIN_ERROR = 4
PACKAGES = (
    "robustreg", "torch", "torchvision", "pluggy", "numpy", "scipy", "matplotlib", "click", "rich", "safetensors",
    "pooch", "pillow",
)  # fmt: skip
DECISIVE = ("ROBUSTREG_PLUGINS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "NO_COLOR", "COLUMNS")


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Show versions, devices, plugins and what is wrong with them; the exit code is 4 when a plugin failed."""
    from ..plugins import discover

    catalogue = discover()
    found = examine(catalogue)
    if as_json:
        print_json(found)
    else:
        out = console()
        for title, values in found.items():
            out.print(f"{title}:", markup=False)
            rows = values.items() if isinstance(values, dict) else ((value, "") for value in values)
            for name, value in rows:
                out.print(f"  {name}{': ' if value != '' else ''}{value}", markup=False, soft_wrap=True)
            if not values:
                out.print("  none", markup=False)
    return PLUGIN_ERROR if catalogue.failures else 0


def examine(catalogue: Catalogue) -> dict[str, Any]:
    """Return versions, devices, engines, plugins, their failures and the settings of the environment that matter.

    Nothing in it names a folder or a user of this machine.
    """
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": cores()},
        "devices": _devices(),
        "engines": {name: _state(engine) for name, engine in catalogue.offers["engines"].items()},
        "plugins": {origin.plugin: f"{origin.distribution} {origin.version}" for origin in catalogue.loaded},
        "failures": [str(failure) for failure in catalogue.failures],
        "environment": {name: os.environ[name] for name in DECISIVE if name in os.environ},
    }


def _state(engine: Any) -> str:
    return (problem_of(engine) or "ok") if isinstance(engine, EngineSource) else "no EngineSource"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _devices() -> dict[str, str]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"torch": f"cannot be imported: {error}"}
    found = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    return found
