"""Do a task of a study: train its runs together, measure each, judge, and give it away as soon as it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from .. import checkpoint
from ..attacks import protocol_attacks
from ..attacks.transfer import Surrogate
from ..cohort import Member
from ..errors import RobustregError, printable
from ..measures import (
    Flag,
    Measure,
    Subject,
    Value,
    attack_together,
    chance_band,
    measure_all,
    sandwich,
    trust_flags,
)
from .examples import examples
from .fit import Note, Saved, fit
from .job import Job, blamed, blank
from .plan import KEPT, Plan, PlannedRun
from .record import Record

__all__ = ["Saved", "blank", "execute", "train_again"]

Found = tuple[int, Record, bytes]


def execute(
    plan: Plan,
    runs: Sequence[PlannedRun],
    note: Note,
    which: Sequence[int],
    surrogates: Mapping[int, bytes],
    saved: Mapping[int, bytes] | None = None,
) -> Iterator[Found | Saved]:
    """Yield position, record and model file of each run of a task; what goes wrong in one becomes its status.

    Args:
        plan: the study.
        runs: all its runs.
        note: told now and then what share of the training is done.
        which: the positions of the runs to do: of one label condition.
        surrogates: by seed, the file of the trained baseline, whose adversarial images are tried on the others, too.
        saved: by position, the state to go on from; None where nobody keeps states, and none are yielded.

    Raises:
        DataError: data that cannot be read stops the study, since every run would meet it.
    """
    jobs = [Job(index, runs[index], blank(plan, runs[index])) for index in which]
    for job in jobs:
        with blamed(job):
            _prepare(plan, job)
    yield from fit(plan, [job for job in jobs if job.member is not None], note, saved)
    for job in jobs:
        with blamed(job):
            _look_at(plan, job, surrogates)
    if plan.attacked:
        attack_together([job.subject for job in jobs if job.subject is not None])
    for job in jobs:
        with blamed(job):
            _measure(plan, job)
        yield job.index, job.record, job.file
        job.labelled = job.member = job.trained = job.subject = None


def train_again(plan: Plan, runs: Sequence[PlannedRun], index: int) -> tuple[dict[str, Tensor] | None, str]:
    """Return the weights of one run, trained as `execute` trains it and not measured, or None and what went wrong."""
    job = Job(index, runs[index], blank(plan, runs[index]))
    with blamed(job):
        _prepare(plan, job)
    if job.member is not None:
        list(fit(plan, [job], lambda share: None, None))
    if job.trained is None or job.trained.status == "failed":
        return None, job.record.reason or (job.trained.reason if job.trained else "")
    return checkpoint.weights_of(job.trained.model), ""


def _prepare(plan: Plan, job: Job) -> None:
    job.labelled = job.run.condition.apply(plan.splits(job.run.seed), job.run.seed)
    job.member = Member(plan.model(job.run.seed), job.run.arm.regularizers, job.labelled.splits, job.run.seed)


def _look_at(plan: Plan, job: Job, surrogates: Mapping[int, bytes]) -> None:
    """Take over what is known after training, and turn to the model, if there is one that can be measured."""
    trained, labelled, record, condition = job.trained, job.labelled, job.record, job.run.condition
    if trained is None or labelled is None:
        return
    record.status, record.reason, record.history = trained.status, trained.reason, trained.history
    record.details = {
        "train_images": len(labelled.truth.train),
        "epochs": len(trained.history),
        "parameters": plan.parameters(),
        "seconds": trained.seconds,
        "cohort": trained.cohort,
        "note": trained.note,
        "initial_norms": trained.initial_norms,
    }
    if labelled.wrong is not None:
        record.details |= {
            "label_noise": {"rate": condition.rate, "mode": condition.mode},
            "effective_wrong_rate": float(labelled.wrong.float().mean()),
        }
    if trained.status == "ok":
        job.subject = Subject(
            model=trained.model,
            splits=labelled.truth,
            seed=job.run.seed,
            device=torch.device(plan.device),
            given_labels=labelled.given,
            wrong=labelled.wrong,
            label_condition=str(condition),
            eps_grid=plan.eps,
            headline_eps=plan.headline_eps,
            norm=plan.norm,
            surrogate=_baseline(plan, job.run.seed, surrogates),
            attacks=protocol_attacks(plan.protocol.name),
            history=trained.history,
            training_seconds=trained.seconds,
            gradient_passes=trained.gradient_passes,
        )


def _baseline(plan: Plan, seed: int, surrogates: Mapping[int, bytes]) -> Surrogate | None:
    """The trained baseline of a seed, one for all runs that this process measures: what is made with it is kept."""
    if seed not in surrogates:
        return None
    kept = plan.surrogates
    if seed not in kept:
        while len(kept) >= max(1, KEPT // len(surrogates[seed])):
            kept.pop(next(iter(kept)))
        kept[seed] = Surrogate(checkpoint.from_bytes(surrogates[seed], plan.model(seed)).to(plan.device))
    return kept[seed]


def _measure(plan: Plan, job: Job) -> None:
    """Measure and judge the model, and pack it."""
    record, subject = job.record, job.subject
    if job.trained is None or record.status == "failed":
        return
    if subject is not None:
        record.measures, unmeasured = _values(plan, subject)
        if unmeasured:
            record.details["unmeasured"] = unmeasured
        record.trust = [dict(flag) for flag in _flags(plan, subject) if flag is not None]
        if plan.attacked and not subject.corrupted and job.run.seed == plan.seeds[0]:
            record.details["examples"] = examples(subject)
    about = {"arm": record.arm, "seed": record.seed, "label_condition": record.label_condition}
    manifest = plan.manifest(record.seed, job.run.arm) | about | checkpoint.around(job.run.arm.regularizers)
    job.file = checkpoint.to_bytes(checkpoint.weights_of(job.trained.model), manifest)


def _values(plan: Plan, subject: Subject) -> tuple[dict[str, Value], dict[str, str]]:
    """The value of every measure, and why those of plugins have none that failed: installed is not wanted, and no
    training is to be lost over it. One of ours fails where the model does, and its run with it."""
    strangers = plan.strangers_measures()
    unmeasured: dict[str, str] = {}

    def failed(measure: Measure, error: RobustregError) -> None:
        if measure.name not in strangers:
            raise error
        unmeasured[measure.name] = printable(f"{error} (from {strangers[measure.name]})")

    return measure_all(subject, plan.measured(), on_error=failed), unmeasured


def _flags(plan: Plan, subject: Subject) -> list[Flag | None]:
    """What may be wrong with the numbers of a subject: flags about attacks are raised where there were attacks."""
    if subject.corrupted:
        return [chance_band(subject)] if plan.attacked or "clean_accuracy" in plan.measures() else []
    return [*trust_flags(subject), sandwich(subject)] if plan.attacked else []
