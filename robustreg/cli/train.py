"""`robustreg train`: one run."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import click

from ..spec import parse
from .options import NUMBERS, common_options, data_option, device_of, model_option, one, recipe_options, recipe_settings
from .output import console, print_json, progress, say

FAILED = 1


@click.command("train")
@click.argument("spec", default="none")
@data_option
@model_option
@click.option("--seed", type=int, default=0, show_default=True, help="Split, initial weights, batch order and noise.")
@recipe_options
@click.option(
    "--label-noise", type=NUMBERS, default="0", show_default=True, help="Share of training labels drawn anew."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for model and history.")
@common_options
def command(spec: str, **options: Any) -> int:
    """Train one run and write its model file and history.

    SPEC names the regularizers: dropout:0.5+l1:1e-4. Measure the model with robustreg evaluate.
    """
    parsed = parse(spec)  # syntax errors answer before torch is imported
    from ..checkpoint import around, to_bytes, weights_of
    from ..errors import UsageError
    from ..plugins import discover
    from ..report import to_json
    from ..study import Progress, make_plan, write_whole
    from ..training import Session, train

    rate = one(options["label_noise"], "--label-noise") or 0.0
    plan = make_plan(
        [parsed],
        catalogue=discover(),
        data=options["data"],
        model=options["model"],
        seeds=[options["seed"]],
        label_noise=[rate],
        device=device_of(options["device"]),
        say=say,
        **recipe_settings(options),
    )
    chosen = [run for run in plan.runs() if run.condition.rate == rate][-1]
    if len(plan.arms) > 2:
        raise UsageError(f"train does one run, and {spec} stands for {len(plan.arms) - 1}; use compare")
    seed, labelled = options["seed"], chosen.condition.apply(plan.splits(options["seed"]), options["seed"])
    settings = plan.recipe_of(chosen.condition)
    with progress() as show:

        def told(session: Session) -> None:
            show(Progress(session.epoch, settings.epochs, f"{chosen} · epoch {session.epoch}", None, 0, 0))

        run = train(
            plan.model(seed), chosen.arm.regularizers, labelled.splits,
            seed=seed, device=plan.device, recipe=settings, on_epoch=told,
        )  # fmt: skip
    safe = "".join(c if c.isalnum() or c in "-_.=" else "-" for c in chosen.arm.name)
    folder: Path = options["out"] or Path("robustreg-out") / f"train-{plan.name}-{safe}-seed{seed}"
    about = {"arm": chosen.arm.name, "seed": seed, "label_condition": str(chosen.condition)}
    record = {
        **plan.manifest(seed), **about, "status": run.status, "reason": run.reason, "regularizers": run.regularizers,
        "parameters": plan.parameters(), "epochs": len(run.history), "seconds": run.seconds, "last": run.history[-1:],
    }  # fmt: skip
    files = {
        "model.safetensors": to_bytes(
            weights_of(run.model), plan.manifest(seed) | about | around(chosen.arm.regularizers)
        ),
        "history.csv": _csv(run.history),
        "run.json": to_json(record).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    for name, content in files.items():
        write_whole(folder / name, content)
    paths = [str(folder / name) for name in files]
    if options["as_json"]:
        print_json(record | {"files": paths})
    else:
        out = console()
        if run.history:
            last = run.history[-1]
            scores = " · ".join(f"{key} {last[key]:.4g}" for key in last if key.endswith(("accuracy", "loss")))
            out.print(f"{chosen}: {run.status} after {len(run.history)} epochs · {scores}", markup=False)
        for path in paths:
            out.print(path, markup=False, soft_wrap=True)
    if run.status != "ok":
        say(f"Error: the run {run.status}: {run.reason}")
        return FAILED
    return 0


def _csv(history: list[dict[str, float]]) -> bytes:
    columns = ["epoch", *dict.fromkeys(key for row in history for key in row if key != "epoch")]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()
