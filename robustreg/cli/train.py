"""`robustreg train`: one run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..spec import Spec, parse
from .options import common_options, data_option, device_of, model_option, one, recipe_options, recipe_settings
from .output import console, print_json, progress, say
from .processes import in_process, launch
from .values import NUMBERS

if TYPE_CHECKING:
    from ..distributed import World
    from ..session import Session
    from ..study import Plan
    from ..study.plan import PlannedRun
    from ..training import Run

FAILED = 1
CHECKPOINT = "checkpoint.safetensors"
MODEL, RECORD = "model.safetensors", "run.json"


class _Kept(click.Command):
    """Keeps what was typed, so that it can be typed again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["typed"] = [ctx.info_name or "train", *args]
        return super().parse_args(ctx, args)


@click.command("train", cls=_Kept)
@click.argument("spec", default="none")
@data_option
@model_option
@click.option("--seed", type=int, default=0, show_default=True, help="Split, initial weights, batch order and noise.")
@recipe_options
@click.option(
    "--label-noise", type=NUMBERS, default="0", show_default=True, help="Share of training labels drawn anew."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for model, history, checkpoint.")
@click.option("--nproc", type=click.IntRange(min=1), metavar="N", help="Processes that share each batch [1].")
@common_options
def command(spec: str, **options: Any) -> int:
    """Train one run and write its model file and history.

    SPEC names the regularizers: dropout:0.5+l1:1e-4. Measure the model with robustreg evaluate. A run that takes long
    saves a checkpoint now and then; cut off and started again it goes on from there, to the same bits. The finished
    model of another run is never replaced.
    """
    parsed = parse(spec)  # syntax errors answer before torch is imported
    from ..distributed import joined, started

    nproc = options["nproc"]
    if nproc not in (None, 1) and not started():
        return launch(click.get_current_context().meta["typed"], nproc)
    device = device_of(options["device"])

    def do() -> int:
        with joined(nproc, device) as world:
            return _train(parsed, spec, options | {"device": device}, world)

    return in_process(do)


def _train(parsed: Spec, spec: str, options: dict[str, Any], world: World) -> int:
    from ..errors import UsageError

    plan = _in_turn(world, lambda: _planned(parsed, options, say if world.rank == 0 else _nothing))
    rate = one(options["label_noise"], "--label-noise") or 0.0
    chosen = [run for run in plan.runs() if run.condition.rate == rate][-1]
    if len(plan.arms) > 2:
        raise UsageError(f"train does one run, and {spec} stands for {len(plan.arms) - 1}; use compare")
    safe = "".join(c if c.isalnum() or c in "-_.=" else "-" for c in chosen.arm.name)
    identity = f"{plan.identity(chosen)}-{world.size}"
    name = f"train-{plan.name}-{safe}-seed{options['seed']}-{identity[:8]}"  # other settings, another folder
    folder: Path = options["out"] or Path("robustreg-out") / name
    _in_turn(world, lambda: _make(folder, identity))
    run = _run(plan, chosen, identity, folder / CHECKPOINT, world)
    if world.rank:
        return 0
    return _write(plan, chosen, identity, run, folder, world, as_json=options["as_json"])


def _planned(parsed: Spec, options: dict[str, Any], tell: Callable[[str], None]) -> Plan:
    from ..plugins import discover
    from ..study import make_plan

    return make_plan(
        [parsed],
        catalogue=discover(),
        data=options["data"],
        model=options["model"],
        seeds=[options["seed"]],
        label_noise=[one(options["label_noise"], "--label-noise") or 0.0],
        device=options["device"],
        say=tell,
        **recipe_settings(options),
    )


def _in_turn(world: World, do: Callable[[], Any]) -> Any:
    """Do something in the first process, and then in the others, which find what it has made."""
    if world.rank:
        world.spread(b"")
        return do()
    found = do()
    world.spread(b"")
    return found


def _make(folder: Path, identity: str) -> None:
    """Make the folder of a run.

    Raises:
        UsageError: where the model of another run is in it, finished: the other would be lost.
        StoreError: where it cannot be made, or written to.
    """
    from ..errors import UsageError
    from ..study.disk import on_disk, remove_partials

    with on_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_partials(folder, CHECKPOINT)
    found = _record(folder)
    if (folder / MODEL).exists() and found.get("id") != identity and found.get("status", "ok") == "ok":
        about = ", ".join(f"{key} {found[key]}" for key in ("arm", "data", "model", "epochs", "seed") if key in found)
        raise UsageError(
            f"{folder / MODEL} is the finished model of another run{f' ({about})' if about else ''}: one of other"
            " settings, data, versions or --nproc. Name another folder with --out, or remove the file"
        )


def _record(folder: Path) -> dict[str, Any]:
    """What the folder says of the run that is in it; nothing where that cannot be read."""
    try:
        found = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _run(plan: Plan, chosen: PlannedRun, identity: str, path: Path, world: World) -> Run:
    """Train, from the checkpoint if there is one, and save a checkpoint now and then."""
    from .. import states
    from ..errors import DataError, DiskFullError
    from ..session import StateError
    from ..study import Progress, write_whole
    from ..study.fit import Due
    from ..training import train

    seed, recipe = chosen.seed, plan.recipe_of(chosen.condition)
    splits = chosen.condition.apply(plan.splits(seed), seed).splits
    due, first, problems = Due(), world.rank == 0, list[Exception]()
    saved = world.spread(_checkpoint(path, identity) if first else b"")
    state = states.from_bytes(saved, identity) if saved else None
    if state is not None and first:
        say(f"Going on after epoch {state.get('epoch')} of {recipe.epochs}, from {path}")
    with progress() as show:

        def told(session: Session) -> None:
            if not first:
                return
            show(Progress(session.epoch, recipe.epochs, f"{chosen} · epoch {session.epoch}", None, 0, 0))
            if due():
                try:
                    write_whole(path, states.to_bytes(session.to_go_on(), identity))
                except (DataError, DiskFullError) as error:
                    if not problems:
                        say(f"Note: no checkpoint is saved: {error}")
                    problems.append(error)
                due.done()

        how: dict[str, Any] = {"seed": seed, "device": plan.device, "recipe": recipe, "on_epoch": told, "world": world}
        parts = plan.model(seed), chosen.arm.regularizers, splits
        try:
            return train(*parts, state=state, **how)
        except StateError as error:
            if first:
                say(f"Note: {path} is not used: {error}")
            return train(*parts, **how)


def _checkpoint(path: Path, identity: str) -> bytes:
    """What to go on from; empty where there is nothing, or nothing that can be believed.

    Raises:
        UsageError: for the sound checkpoint of another run, which may be worth hours.
    """
    from .. import states
    from ..errors import DataError, UsageError

    try:
        data = path.read_bytes()
        states.from_bytes(data, identity)
    except FileNotFoundError:
        return b""
    except states.OtherRunError:
        raise UsageError(
            f"{path} is what another run can go on from: one of other settings, data, versions or --nproc. Start that"
            " one again, or name another folder with --out, or remove the file"
        ) from None
    except (DataError, OSError) as error:
        say(f"Note: {path} is not used: {error}; the run begins anew")
        return b""
    return data


def _write(
    plan: Plan, chosen: PlannedRun, identity: str, run: Run, folder: Path, world: World, *, as_json: bool
) -> int:
    """Write model, history and record, and tell what came of the run."""
    from ..checkpoint import around, to_bytes, weights_of
    from ..report import to_json
    from ..study import write_whole
    from ..study.disk import on_disk

    seed = chosen.seed
    about = {"arm": chosen.arm.name, "seed": seed, "label_condition": str(chosen.condition)}
    record = {
        **plan.manifest(seed), **about, "status": run.status, "reason": run.reason, "regularizers": run.regularizers,
        "parameters": plan.parameters(), "epochs": len(run.history), "seconds": run.seconds, "nproc": world.size,
        "last": run.history[-1:], "id": identity,
    }  # fmt: skip
    manifest = plan.manifest(seed) | about | around(chosen.arm.regularizers)
    files = {
        MODEL: to_bytes(weights_of(run.model), manifest),
        "history.csv": _csv(run.history),
        RECORD: to_json(record).encode(),
    }
    with on_disk(folder):
        for name, content in reversed(files.items()):  # the model last: one that is there has its record
            write_whole(folder / name, content)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    paths = [str(folder / name) for name in files]
    if as_json:
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


def _nothing(message: str) -> None:
    """Say nothing: the first process has said it."""


def _csv(history: list[dict[str, float]]) -> bytes:
    columns = ["epoch", *dict.fromkeys(key for row in history for key in row if key != "epoch")]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()
