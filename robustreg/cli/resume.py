"""`robustreg resume`: what is missing of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..engines import check_engine
from ..errors import StoreError
from .compare import catalogue_of_all, run_and_write
from .options import (
    engine_option,
    json_option,
    named_again_options,
    report_options,
    run_seconds_option,
    study_argument,
)
from .output import say


@click.command("resume")
@study_argument
@named_again_options
@engine_option
@run_seconds_option
@click.option("--again", is_flag=True, help="Train all of it again where versions or data are others than they were.")
@click.option("--salvage", is_flag=True, help="First save what is sound in a damaged store, which is kept aside.")
@click.option("--take-over", is_flag=True, help="Go on where a process on another machine, now gone, worked on it.")
@report_options
@json_option
def command(study: Path, **options: Any) -> int:
    """Do what is missing of a study, those runs that failed once more, and write its report.

    The study is planned again from its folder, with the same numbers on every engine. A limit of seconds a run stays
    what it was unless another is given.
    """
    check_engine(options["engine"])
    from ..study import changed, plan_again, read_study

    if options["salvage"]:
        from ..study.salvage import salvage

        say(str(salvage(study)))
    file = read_study(study)
    plan = plan_again(file, study, catalogue_of_all(), data=options["data"], model=options["model"], say=say)
    others = changed(plan, file)
    if others and not options["again"]:
        raise StoreError(
            f"{study} cannot be finished as it was begun: {'; '.join(others)}. Runs of both are never compared."
            " Put back what changed, or say --again to train the whole study as things are now; what was trained"
            " before stays in the store"
        )
    if options["run_seconds"] is None:
        options["run_seconds"] = (file.request or {}).get("run_seconds", 0.0)
    for reason in others:
        say(f"Note: the study is trained anew: {reason}")
    return run_and_write(plan, study, options, take_over=options["take_over"])
