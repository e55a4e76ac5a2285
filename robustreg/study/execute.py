"""Do one planned run: train, measure, judge."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from .. import checkpoint
from ..attacks import protocol_attacks
from ..errors import DataError, RobustregError, printable
from ..measures import Subject, chance_band, measure_all, sandwich, trust_flags
from ..training import train
from .examples import examples
from .plan import Plan, PlannedRun
from .record import Record


def execute(
    plan: Plan,
    run: PlannedRun,
    *,
    surrogate: nn.Module | None = None,
    on_epoch: Callable[[float], None] | None = None,
) -> tuple[Record, bytes]:
    """Return the record and the model file of one run; what goes wrong in it becomes its status and reason.

    Args:
        plan: the study.
        run: what to do of it.
        surrogate: the trained baseline of the same seed, whose adversarial images are tried on this model too.
        on_epoch: called after every epoch with the share of the training that is done.

    Raises:
        DataError: data that cannot be read stops the study, since every run would meet it.
    """
    record = Record(
        plan.identity(run),
        run.arm.name,
        run.seed,
        str(run.condition),
        regularizers=run.arm.settings(),
        split_hash=plan.split_hash(run.seed),
        versions=plan.versions(run.arm),
    )
    try:
        return record, _train_and_measure(plan, run, record, surrogate, on_epoch)
    except (KeyboardInterrupt, DataError):
        raise
    except RobustregError as error:
        record.status, record.reason = "failed", printable(str(error))
    except Exception as error:  # a model or plugin can raise anything; the study goes on without this run
        record.status, record.reason = "failed", printable(f"{type(error).__name__}: {error}")
    return record, b""


def _train_and_measure(
    plan: Plan,
    run: PlannedRun,
    record: Record,
    surrogate: nn.Module | None,
    on_epoch: Callable[[float], None] | None,
) -> bytes:
    labelled = run.condition.apply(plan.splits(run.seed), run.seed)
    wrong, recipe = labelled.wrong, plan.recipe_of(run.condition)
    trained = train(
        plan.model(run.seed),
        run.arm.regularizers,
        labelled.splits,
        seed=run.seed,
        device=plan.device,
        recipe=recipe,
        on_epoch=None if on_epoch is None else lambda session: on_epoch(session.epoch / recipe.epochs),
    )
    record.status, record.reason, record.history = trained.status, trained.reason, trained.history
    record.details = {
        "train_images": len(labelled.truth.train),
        "epochs": len(trained.history),
        "parameters": plan.parameters(),
        "seconds": trained.seconds,
        "initial_norms": trained.initial_norms,
    }
    if wrong is not None:
        record.details |= {
            "label_noise": {"rate": run.condition.rate, "mode": run.condition.mode},
            "effective_wrong_rate": float(wrong.float().mean()),
        }
    if trained.status == "ok":
        subject = Subject(
            model=trained.model,
            splits=labelled.truth,
            seed=run.seed,
            device=torch.device(plan.device),
            given_labels=labelled.given,
            wrong=wrong,
            label_condition=str(run.condition),
            eps_grid=plan.eps,
            headline_eps=plan.headline_eps,
            norm=plan.norm,
            surrogate=surrogate,
            attacks=protocol_attacks(plan.protocol.name),
            history=trained.history,
            training_seconds=trained.seconds,
            gradient_passes=trained.gradient_passes,
        )
        record.measures = measure_all(subject, plan.catalogue.offers["measures"].values())
        flags = [*trust_flags(subject), sandwich(subject)] if wrong is None else [chance_band(subject)]
        record.trust = [dict(flag) for flag in flags if flag is not None]
        if wrong is None and run.seed == plan.seeds[0]:
            record.details["examples"] = examples(subject)
    about = {"arm": run.arm.name, "seed": run.seed, "label_condition": str(run.condition)}
    return checkpoint.to_bytes(checkpoint.weights_of(trained.model), plan.manifest(run.seed) | about)
