"""Faults in small numbers: what `python -m tests.faults` injects in large ones. See docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from robustreg.engines import LOCAL
from tests.faults.damage import damaged_models, damaged_stores
from tests.faults.disk import full_disk
from tests.faults.growth import growth
from tests.faults.interrupts import interrupts
from tests.faults.kills import kills
from tests.faults.nursery import Nursery
from tests.faults.outcome import Outcome
from tests.faults.plugins import bad_plugins
from tests.faults.soak import soak
from tests.faults.workers import worker_kills

pytestmark = pytest.mark.skipif(bool(LOCAL.problem()), reason=LOCAL.problem())


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as made:
        yield made


def held(found: Outcome, count: int) -> None:
    assert not found.wrong, str(found)
    assert found.count == count


@pytest.mark.slow
def test_a_study_that_was_killed_anywhere_ends_as_if_it_had_not_been(nursery: Nursery, tmp_path: Path) -> None:
    found = kills(nursery, tmp_path, 25)
    held(found, 25)
    assert found.numbers["cut off before the end"] >= 10  # those whose point is no matter of time


@pytest.mark.slow
def test_a_killed_workers_runs_are_done_again_and_no_others(tmp_path: Path) -> None:
    held(worker_kills(tmp_path, 5), 5)


@pytest.mark.slow
def test_ctrl_c_once_or_twice_loses_nothing_and_says_so(nursery: Nursery, tmp_path: Path) -> None:
    held(interrupts(nursery, tmp_path, 4), 4)


@pytest.mark.slow
def test_a_damaged_database_is_refused_or_gives_the_same_results(nursery: Nursery, tmp_path: Path) -> None:
    found = damaged_stores(nursery, tmp_path, 8)
    held(found, 8)
    assert found.numbers["refused"] >= 2  # no database at all, and one of a newer version


@pytest.mark.slow
def test_a_damaged_model_is_never_believed(nursery: Nursery, tmp_path: Path) -> None:
    held(damaged_models(nursery, tmp_path, 4), 4)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(nursery: Nursery, tmp_path: Path) -> None:
    held(full_disk(nursery, tmp_path, 3), 3)


@pytest.mark.slow
def test_a_bad_regularizer_spoils_no_other_arm(nursery: Nursery, tmp_path: Path) -> None:
    held(bad_plugins(nursery, tmp_path, short=True), 9)


@pytest.mark.slow
def test_a_process_does_not_grow_with_its_studies(tmp_path: Path) -> None:
    held(soak(tmp_path, 200), 200)


def test_the_time_of_a_study_grows_as_its_runs(tmp_path: Path) -> None:
    held(growth(tmp_path, (100, 300, 1000)), 3)
