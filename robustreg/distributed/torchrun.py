"""Joining the processes that torchrun has started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
import torch.distributed as dist

from ..errors import UsageError
from .collective import together
from .world import ALONE, World

TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK")  # what torchrun tells each process of itself
MEETING = ("MASTER_ADDR", "MASTER_PORT")  # and of where they meet
STORE = "ROBUSTREG_STORE"  # a file where processes meet that `train --nproc` has started; torchrun itself says where


def started() -> bool:
    """Return whether torchrun has started this process."""
    return all(name in os.environ for name in TOLD)


@contextmanager
def joined(nproc: int | None = None, device: str = "cpu") -> Iterator[World]:
    """Give the processes that torchrun has started, of which this is one; without torchrun this one alone.

    Args:
        nproc: how many there must be; None for any number.
        device: "cpu" (they talk by gloo) or "cuda" (by nccl; each has a GPU of its own, which becomes the current one).

    Raises:
        UsageError: for another number of processes, or fewer GPUs.
        PeerLostError: where they do not find each other.
    """
    if not started():
        if nproc not in (None, 1):
            raise UsageError(f"{nproc} processes were asked for, and torchrun has started none; this is one")
        yield ALONE
        return
    rank, size, local = (int(os.environ[name]) for name in TOLD)
    if nproc not in (None, size):
        raise UsageError(f"{nproc} processes were asked for (--nproc {nproc}), and torchrun has started {size}")
    here = torch.device("cpu")
    if torch.device(device).type == "cuda":
        if local >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise UsageError(
                f"process {rank} has no GPU: torch finds {count} here; use --nproc {count} or --device cpu"
            )
        here = torch.device("cuda", local)
        torch.cuda.set_device(here)
    if not os.environ.get(STORE) and not all(name in os.environ for name in MEETING):
        raise UsageError(
            f"{', '.join(TOLD)} are set, and of {' and '.join(MEETING)} one is not: start the processes by torchrun or"
            " --nproc, which set all, or take the first ones out of the environment for a run of this process alone"
        )
    gpu, meet = here if here.type == "cuda" else None, os.environ.get(STORE)
    where = f"file://{meet}" if meet else "env://"
    with together():
        dist.init_process_group("nccl" if gpu else "gloo", init_method=where, rank=rank, world_size=size, device_id=gpu)
    try:
        yield World(rank, size, here)
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()
