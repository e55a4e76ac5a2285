"""A search as plain values, in the documented JSON form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .result import SELECTIONS, Final, rate_of
from .space import Space

if TYPE_CHECKING:
    from .result import Tuning

LOST = ("collapsed", "diverged", "failed")


def document(tuning: Tuning) -> dict[str, Any]:
    """Return everything: what was searched, and by arm its space, trials, selections, curves and costs."""
    return {
        "tuning": tuning.study,
        "arms": [_arm(tuning, space) for space in tuning.spaces],
        "tested_configurations": len({(final.spec, final.model) for final in tuning.finals}),
        "verdict": tuning.verdict(),
    }


def _arm(tuning: Tuning, space: Space) -> dict[str, Any]:
    trials, compute = tuning.trials[space.arm], tuning.compute[space.arm]
    found = {by: tuning.final(space.arm, by) for by in SELECTIONS}
    return {
        "arm": space.arm,
        "space": [axis.describe() for axis in space.axes],
        "draws": len(trials),
        "lost": {status: sum(trial.status == status for trial in trials) for status in LOST},
        "trials": [trial.to_dict() for trial in trials],
        "selected": {by: None if final is None else _final(tuning, final) for by, final in found.items()},
        "expected_maximum": tuning.curves[space.arm],
        "equal_epochs": {by: at[0] for by, at in compute.expected.items()},
        "equal_compute": {
            "cost": compute.cost,
            "draws": compute.affordable,
            **{by: at[1] for by, at in compute.expected.items()},
        },
    }


def _final(tuning: Tuning, final: Final) -> dict[str, Any]:
    trial = final.trial
    return {
        "spec": final.spec,
        "model": final.model,
        "learning_rate": rate_of(final, tuning.study),
        "draw": None if trial is None else trial.draw,
        "val_clean": None if trial is None else trial.clean,
        "val_robust": None if trial is None else trial.robust,
        "test_clean": _interval(final, "clean"),
        "test_robust": _interval(final, "robust"),
        "bias": final.bias,
        "against_baseline": tuning.differences.get((final.arm, final.by), {}),
        "red": final.red,
        "test_used": final.used,
        "runs": [
            {
                "seed": record.seed,
                "status": record.status,
                "reason": record.reason,
                "measures": record.measures,
                "id": record.id,
                "model_sha256": record.model_sha256,
            }
            for record in final.records
        ],
    }


def _interval(final: Final, what: str) -> dict[str, Any] | None:
    found = final.test(what)
    return None if found is None else vars(found)
