"""`robustreg tune`: strengths searched within one budget, selected on validation, tested once."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..engines import check_engine
from ..spec import parse
from .options import (
    attack_options,
    common_options,
    data_option,
    device_of,
    engine_option,
    model_option,
    one,
    recipe_options,
    recipe_settings,
    run_seconds_option,
)
from .output import console, duration, print_json, progress, say

if TYPE_CHECKING:
    from ..tuning import Search, Tuning

LOST_RUNS = 1
FOLDER = "robustreg-out"
SAMPLERS = ("random", "grid", "coordinate", "bayesian")  # the tuning room knows them, too; a test compares
CRITERIA = ("clean", "robust")


@click.command("tune")
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@data_option
@model_option
@click.option("--budget", type=click.IntRange(min=1), metavar="N", help="Draws of every arm [12; paper: 30].")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="random", show_default=True,
              help="How draws are chosen; bayesian needs Optuna.")  # fmt: skip
@click.option("--guide", type=click.Choice(CRITERIA), default="robust", show_default=True,
              help="What coordinate and bayesian follow; selection is by both.")  # fmt: skip
@click.option("--learning-rates", metavar="LO..HI",
              help="Learning rates that every arm is searched over [a tenth to 4 times the recipe's].")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds of what is selected [by protocol: 3, 10, 20].")
@recipe_options
@attack_options
@engine_option
@run_seconds_option
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the search.")
@click.option("--no-figures", is_flag=True, help="Leave the figure out.")
@common_options
def command(specs: tuple[str, ...], **options: Any) -> int:
    """Search strengths with one budget for every arm, select on validation images, test what was selected once.

    SPEC has ranges in the place of values: l1:1e-6..1e-1, dropout:0..0.8, elastic_net:1e-5..1e-2,ratio=0..1, or lists
    of values. The learning rate is searched, too, for every arm and for none. So may be the network: --model
    mlp:width=32..256,depth=1..4. Finished runs are kept: the same command started again goes on where it was cut off.
    """
    parsed = [parse(spec) for spec in specs]  # syntax errors answer before torch is imported
    check_engine(options["engine"])
    from ..tuning import run_search

    started = time.perf_counter()
    search = _search(parsed, options)
    folder = options["out"] or Path(FOLDER) / f"tune-{search.plan.name}-{_settings_hash(search)}"
    _announce(search, folder)
    with progress() as show:
        tuning = run_search(
            search,
            engine=options["engine"],
            out=folder,
            on_progress=show,
            say=say,
            run_seconds=options["run_seconds"] or 0.0,
        )
    _write(tuning, folder, options)
    say(f"Done in {duration(time.perf_counter() - started)}.")
    trials = (trial.status == "failed" for each in tuning.trials.values() for trial in each)
    finals = (record.status != "ok" for final in tuning.finals for record in final.records)
    return LOST_RUNS if any(trials) or any(finals) else 0


def _search(specs: list[Any], options: dict[str, Any]) -> Search:
    from ..plugins import discover
    from ..tuning import make_search

    catalogue = discover()
    for failure in catalogue.failures:
        say(f"Warning: {failure}")
    kept = ("data", "model", "budget", "sampler", "guide", "learning_rates", "seeds", "protocol", "eps", "norm")
    return make_search(
        specs,
        catalogue=catalogue,
        headline_eps=one(options["headline_eps"], "--headline-eps"),
        device=device_of(options["device"]),
        say=say,
        **{name: options[name] for name in kept},
        **recipe_settings(options),
    )


def _settings_hash(search: Search) -> str:
    """A short hash of what all runs share, so that more arms or a larger budget go to the same folder."""
    about = search.plan.describe()
    kept = ("data", "epochs", "recipe", "eps", "headline_eps", "norm", "protocol", "device")
    shared = {key: about[key] for key in kept} | {"model": str(search.spaces[0].model or about["model"])}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:8]


def _announce(search: Search, folder: Path) -> None:
    about = search.describe()
    say(
        f"{about['data']}: {about['train_images']} training, {about['val_images']} validation and"
        f" {about['test_images']} test images · {about['model']} · headline eps {about['headline_eps']:g}"
        f" ({about['norm']}, pixel units)"
    )
    for space in search.spaces:
        say(f"  {space.arm}: {search.budget} draws over {'; '.join(map(str, space.axes))}")
    say(
        f"{about['sampler']} sampler · then both selections and the defaults on {len(about['seeds'])} seeds ·"
        f" {about['protocol']} protocol · search in {folder}"
    )
    for note in about["notes"]:
        say(f"Note: {note}")


def _write(tuning: Tuning, folder: Path, options: dict[str, Any]) -> None:
    from ..tuning import print_tables, set_aside, write_tuning

    earlier = set_aside(folder, tuning)
    if earlier is not None:
        say(f"The report in this folder was of another search; it is in {earlier}")
    written = write_tuning(tuning, folder, figures=not options["no_figures"])
    for problem in written.problems:
        say(f"Warning: {problem}")
    if options["as_json"]:
        print_json(tuning.to_dict())
        return
    out = console()
    print_tables(tuning, out)
    for sentence in tuning.verdict():
        out.print(f"\n{sentence}", markup=False)
    out.print()
    for path in written.paths:
        out.print(str(path), markup=False, soft_wrap=True)
