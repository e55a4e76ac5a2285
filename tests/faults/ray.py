"""Kills of workers of a Ray and of its nodes: only what they had under way is done again, to the same bytes."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from robustreg.study import Progress

from . import workers
from .outcome import Outcome

# Two nodes of one core each, on the loopback interface of this machine; a line takes the second away or puts it back.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
node = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
for line in sys.stdin:
    if node is not None:
        cluster.remove_node(node, allow_graceful=False)
    node = cluster.add_node(num_cpus=1) if line == "add\\n" else None
    print("done", flush=True)
cluster.shutdown()
"""


def ray_kills(folder: Path, kills: int) -> Outcome:
    """Kill a worker of Ray so many times, each in a study of its own, at a moment that its number decides."""
    with _cluster() as (address, _):
        return workers.worker_kills(folder, kills, engine=f"ray:address={address}")


def node_removals(folder: Path, removals: int) -> Outcome:
    """Take one of two nodes away so many times, ungracefully, after as many runs as its number decides."""
    found = Outcome(4, "a node of a Ray of two taken away")
    calm, _ = workers.study(folder / "calm", 0, "serial")
    with _cluster() as (address, tell):
        for number in range(removals):
            tell("add")
            after = random.Random(f"node {number}").randint(0, workers.RUNS - 2)
            told: list[int] = []

            def watch(progress: Progress, after: int = after, told: list[int] = told) -> None:
                if progress.done >= after and progress.running and not told:
                    told.append(progress.done)
                    tell("remove")

            state, trace = workers.study(folder / str(number), 0, f"ray:address={address}", on_progress=watch)
            where = f"removal {number} after {after} runs"
            twice, lost = workers.done_again(trace), _lost(trace)
            found.check(bool(told), f"{where}: the study ended before it")
            found.check(twice <= lost, f"{where}: done again though it was given away: {sorted(twice - lost)}")
            found.check(state.finished.keys() == calm.finished.keys(), f"{where}: other runs than undisturbed")
            found.check(state.models == calm.models, f"{where}: model files differ")
            found.check(state.results == calm.results, f"{where}: results.json differs")
            found.add("runs done again", len(twice))
            found.count += 1
    return found


def _lost(trace: list[tuple[str, str]]) -> set[str]:
    """What processes had begun and, as far as another can know, not given away."""
    given = {(pid, what.replace("given", "begin")) for pid, what in trace if "given" in what}
    return {what for pid, what in trace if "begin" in what and (pid, what) not in given}


@contextmanager
def _cluster() -> Iterator[tuple[str, Callable[[str], None]]]:
    """A Ray that is there already: its address, and a function that says "add" or "remove"."""
    import cloudpickle

    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with mock.patch.dict(os.environ, {**token, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}):
        holder = subprocess.Popen([sys.executable, "-c", CLUSTER], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
        assert holder.stdin is not None and holder.stdout is not None
        there = holder.stdin, holder.stdout

        def tell(what: str) -> None:
            print(what, file=there[0], flush=True)
            there[1].readline()

        cloudpickle.register_pickle_by_value(workers)  # with the file that is written to, and the line to die at
        try:
            yield holder.stdout.readline().strip(), tell
        finally:
            cloudpickle.unregister_pickle_by_value(workers)
            holder.stdin.close()
            try:
                holder.wait(60)
            finally:
                holder.kill()
