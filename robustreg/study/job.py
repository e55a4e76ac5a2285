"""One run of a task on its way from plan to record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..cohort import Member
from ..errors import DataError, RobustregError, printable
from ..measures import Subject
from ..session import Run
from .conditions import Labelled
from .plan import Plan, PlannedRun
from .record import Record


@dataclass
class Job:
    """One run on its way: what was planned, what is known of it so far, and the images it is trained on."""

    index: int
    run: PlannedRun
    record: Record
    labelled: Labelled | None = None
    member: Member | None = None
    trained: Run | None = None
    subject: Subject | None = None
    file: bytes = b""


@contextmanager
def blamed(job: Job) -> Iterator[None]:
    """Do something for a run; if it goes wrong, the record says what."""
    try:
        yield
        return
    except (KeyboardInterrupt, DataError):
        raise
    except RobustregError as error:
        reason = str(error)
    except (Exception, SystemExit) as error:  # a model or plugin can raise anything; the study goes on without this run
        reason = f"{type(error).__name__}: {error}"
    job.record.status, job.record.reason, job.subject = "failed", printable(reason), None


def blank(plan: Plan, run: PlannedRun) -> Record:
    """Return the record of a run of which nothing is known yet."""
    return Record(
        plan.identity(run),
        run.arm.name,
        run.seed,
        str(run.condition),
        regularizers=run.arm.settings(),
        split_hash=plan.split_hash(run.seed),
        versions=plan.versions(run.arm),
    )
