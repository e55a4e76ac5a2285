"""`robustreg compare`: the main job."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..engines import check_engine
from ..spec import parse
from .options import (
    LABEL_MODES,
    attack_options,
    common_options,
    data_option,
    device_of,
    engine_option,
    model_option,
    one,
    recipe_options,
    recipe_settings,
    report_options,
    run_seconds_option,
)
from .output import console, duration, print_json, progress, say
from .values import NUMBERS, WORDS

if TYPE_CHECKING:
    from ..plugins import Catalogue
    from ..study import Comparison, Plan

LOST_RUNS = 1
FOLDER = "robustreg-out"


@click.command("compare")
@click.argument("specs", nargs=-1, metavar="[SPEC]...")
@data_option
@model_option
@click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds [by protocol: 3, 10, 20].")
@recipe_options
@click.option("--label-noise", type=NUMBERS, default="0,1", show_default=True, metavar="0,0.4,1",
              help="Shares of training labels drawn anew.")  # fmt: skip
@click.option("--label-mode", type=click.Choice(LABEL_MODES), default="uniform", show_default=True,
              help="Drawn over all classes, over the others, shuffled, or each to the next class.")  # fmt: skip
@attack_options
@click.option("--measures", type=WORDS, metavar="NAME,...",
              help="Take only these measures (see plugins list); attacks run if one needs them.")  # fmt: skip
@engine_option
@run_seconds_option
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the study.")
@report_options
@common_options
def command(specs: tuple[str, ...], **options: Any) -> int:
    """Train every arm over seeds and label conditions, measure, compare, write.

    SPEC is name[:strength][,knob=value...], joined by +: none, dropout:0.5, l1:1e-3+dropout:0.5, and a grid
    l1:1e-4,1e-3. Without SPEC the default arms are compared. Finished runs are kept: the same command started again
    trains only what is missing.
    """
    parsed = [parse(spec) for spec in specs]  # syntax errors answer before torch is imported
    check_engine(options["engine"])
    plan = _plan(parsed, options)
    return run_and_write(plan, options["out"] or Path(FOLDER) / f"{plan.name}-{_settings_hash(plan)}", options)


def run_and_write(plan: Plan, folder: Path, options: dict[str, Any], *, take_over: bool = False) -> int:
    """Do what is missing of a study, write its report, print it, and return the exit code."""
    from ..study import run_plan

    started = time.perf_counter()
    _announce(plan, folder)
    try:
        with progress() as show:
            comparison = run_plan(
                plan,
                engine=options["engine"],
                out=folder,
                on_progress=show,
                say=say,
                run_seconds=options["run_seconds"] or 0.0,
                take_over=take_over,
            )
    except KeyboardInterrupt:
        say(f"To go on with what is missing: robustreg resume {shlex.quote(str(folder))}")
        raise
    write(comparison, folder, options)
    flags = sum(record.measures.get("trust_seconds", 0.0) for record in comparison.records)  # type: ignore[misc]
    say(f"Done in {duration(time.perf_counter() - started)}; finding the trust flags of all runs takes {flags:.1f} s.")
    return LOST_RUNS if any(record.status != "ok" for record in comparison.records) else 0


def catalogue_of_all() -> Catalogue:
    """Return what is installed, and warn of what could not be loaded."""
    from ..plugins import discover

    catalogue = discover()
    for failure in catalogue.failures:
        say(f"Warning: {failure}")
    return catalogue


def _plan(specs: list[Any], options: dict[str, Any]) -> Plan:
    from ..study import make_plan

    return make_plan(
        specs,
        catalogue=catalogue_of_all(),
        data=options["data"],
        model=options["model"],
        seeds=options["seeds"],
        protocol=options["protocol"],
        label_noise=options["label_noise"],
        label_mode=options["label_mode"],
        eps=options["eps"],
        headline_eps=one(options["headline_eps"], "--headline-eps"),
        norm=options["norm"],
        measures=options["measures"],
        device=device_of(options["device"]),
        say=say,
        **recipe_settings(options),
    )


def _settings_hash(plan: Plan) -> str:
    """A short hash of what all runs share, so that more arms or seeds go to the same folder."""
    shared = {k: v for k, v in plan.describe().items() if k not in ("seeds", "split_hashes", "versions", "notes")}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:8]


def _announce(plan: Plan, folder: Path) -> None:
    from ..study.verdict import too_few

    about = plan.describe()
    say(
        f"{about['data']}: {about['train_images']} training images, {len(about['classes'])} classes · {about['model']}:"
        f" {about['parameters']:,} parameters · headline eps {about['headline_eps']:g} ({about['norm']}, pixel units)"
    )
    say(
        f"{len(plan.arms)} arms x {len(plan.seeds)} seeds x {len(plan.conditions)} label conditions ="
        f" {len(list(plan.runs()))} runs · {about['protocol']} protocol · study in {folder}"
    )
    few = too_few(len(plan.seeds), len(plan.arms) - 1) if plan.protocol.p_values else ""
    for note in (*about["notes"], *([few] if few else [])):
        say(f"Note: {note}")


def write(comparison: Comparison, folder: Path, options: dict[str, Any]) -> None:
    """Write the report of a study into a folder, and print it as `options` say."""
    from ..report import print_cards, print_table, set_aside, write_report

    earlier = set_aside(folder, comparison)
    if earlier is not None:
        say(f"The earlier report of this study held other arms or seeds; it is in {earlier}")
    written = write_report(comparison, folder, figures=not options["no_figures"])
    for problem in written.problems:
        say(f"Warning: {problem}")
    if options["as_json"]:
        print_json(comparison.to_dict())
    else:
        out = console()
        (print_cards if options["cards"] else print_table)(comparison, out)
        for sentence in comparison.verdict():
            out.print(f"\n{sentence}", markup=False)
        out.print()
        for path in written.paths:
            out.print(str(path), markup=False, soft_wrap=True)
