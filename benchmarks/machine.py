"""What the numbers were taken on: without it a ratio says little."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from .measure import default_threads

PEERS = ("torchattacks", "foolbox", "adversarial-robustness-toolbox", "pyautoattack")


def about() -> dict[str, str]:
    """Return date, machine, versions and threads, as words."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{processor()}, {default_threads()} cores, GPU {gpu}",
        "versions": f"robustreg {version('robustreg')}, torch {torch.__version__},"
        f" Python {platform.python_version()}, {platform.system()}",
        "peers": ", ".join(f"{name} {version(name)}" for name in PEERS),
        "threads": f"torch by default {torch.get_num_threads()},"
        f" OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}; each benchmark says its own",
        "load": f"{os.getloadavg()[0]:.1f} in the minute before" if hasattr(os, "getloadavg") else "not known",
    }


def processor() -> str:
    """Return the processor's model as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def version(name: str) -> str:
    """Return the installed version of a distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
