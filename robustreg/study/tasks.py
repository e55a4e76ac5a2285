"""How the runs of a study are grouped into tasks: what trains together, and what waits for what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..regularizer import Regularizer
from .plan import BASELINE, SMALL_MODEL, Plan, PlannedRun, images_bytes

MOST = 64  # runs in a task: what is lost when it is cut off, and what one attack looks at
A_WORKER = 2  # tasks that every worker should get at least
IMAGES = 2**28  # bytes of images that the splits of a task may hold
ATTACKED = 80  # passes over the test images that measuring a run under true labels costs, for the order of tasks


@dataclass(frozen=True)
class Task:
    """Runs that are trained together and measured one after the other.

    Attributes:
        runs: their positions in the plan.
        needs: seeds whose baseline has to be trained first, to be turned against these runs.
        baseline: whether others wait for it.
        cost: how long it takes, in no unit.
        tries: how often it was begun and lost.
    """

    runs: tuple[int, ...]
    needs: frozenset[int]
    baseline: bool
    cost: float
    tries: int = 0

    def only(self, runs: Iterable[int]) -> Task:
        """Return the part of the task that does these runs."""
        kept = tuple(runs)
        return replace(self, runs=kept, cost=self.cost * len(kept) / len(self.runs))


def is_baseline(run: PlannedRun) -> bool:
    """Whether a run is the one whose adversarial images the others of its seed are tried with."""
    return run.arm.name == BASELINE and not run.condition.rate


def tasks_of(plan: Plan, runs: Sequence[PlannedRun], todo: Sequence[int], workers: int) -> list[Task]:
    """Return the tasks for the runs at positions `todo`, in the order in which they are best begun.

    Runs train together when they share the label condition and the list of regularizers with its whole, true-or-false
    and word knobs; strengths may differ. Where the model is large, stacking does not pay, and every run is a task: it
    is kept as soon as it is trained.

    With several workers whatever others wait for comes first, and then what takes longest, so that they end together;
    alone, the order is that of the plan.
    """
    small = plan.parameters() < SMALL_MODEL
    most = min(MOST, -(-len(todo) // (A_WORKER * workers))) if workers > 1 else MOST
    groups: dict[Any, list[int]] = {}
    for index in todo:
        groups.setdefault(_kind(runs[index]) if small else index, []).append(index)
    tasks = [
        _task(plan, [runs[index] for index in part], part)
        for group in groups.values()
        for part in _parts(group, min(most, _seeds_at_once(plan)))
    ]
    return sorted(tasks, key=lambda task: (not task.baseline, -task.cost if workers > 1 else task.runs[0]))


def _kind(run: PlannedRun) -> tuple[Any, ...]:
    return (run.condition, is_baseline(run), *(_alike(member) for member in run.arm.regularizers))


def _alike(member: Regularizer) -> tuple[Any, ...]:
    fixed = (value for key, value in member.settings().items() if key == "name" or not member.knobs[key].is_tensor)
    return (type(member), *fixed)


def _parts(group: Sequence[int], most: int) -> list[list[int]]:
    """The group in as few parts as possible of nearly equal size."""
    count = -(-len(group) // max(1, most))
    return [list(group[len(group) * at // count : len(group) * (at + 1) // count]) for at in range(count)]


def _seeds_at_once(plan: Plan) -> int:
    return max(1, IMAGES // max(1, images_bytes(plan.splits(plan.seeds[0]))))


def _task(plan: Plan, runs: Sequence[PlannedRun], positions: Sequence[int]) -> Task:
    baseline = is_baseline(runs[0])
    true_labels = not runs[0].condition.rate
    condition, splits = runs[0].condition, plan.splits(plan.seeds[0])
    passes = min(condition.images or len(splits.train), len(splits.train)) * condition.epochs * 3
    attacked = plan.attacked and true_labels
    passes += ATTACKED * len(splits.test) if attacked else 0
    needs = frozenset(run.seed for run in runs) if attacked and not baseline else frozenset()
    return Task(tuple(positions), needs, baseline, float(passes * len(runs)))
