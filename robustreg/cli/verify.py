"""`robustreg verify`: is a study what it says?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import StoreError
from .compare import catalogue_of_all
from .options import json_option, named_again_options, study_argument
from .output import print_json, say

if TYPE_CHECKING:
    from ..study import Plan, StudyFile


@click.command("verify")
@study_argument
@click.option("--runs", type=click.IntRange(min=0), default=1, show_default=True, help="Runs to train again.")
@click.option("--draw", type=click.IntRange(min=0), default=0, show_default=True, help="Another number, other runs.")
@named_again_options
@json_option
def command(study: Path, runs: int, draw: int, data: str | None, model: str | None, as_json: bool) -> int:
    """Check every row and model file of a study, then train some of its runs again and compare them bit for bit.

    Nothing is written. The exit code is 5 when something differs.
    """
    from ..study.verify import verify

    plan_of = partial(_plan_of, study=study, data=data, model=model)
    found = verify(study, plan_of, runs=runs, draw=draw, say=say)
    if as_json:
        print_json(found.to_dict())
    else:
        for problem in found.problems:
            click.echo(problem)
        same = sum(not run["differs"] for run in found.retrained)
        click.echo(
            f"{'Something differs' if found.problems else 'Sound'}: {found.rows} rows and {found.models} model files"
            f" checked; of {len(found.retrained)} runs trained again {same} have the same bits"
        )
    return StoreError.exit_code if found.problems else 0


def _plan_of(file: StudyFile, *, study: Path, data: str | None, model: str | None) -> Plan:
    from ..study import plan_again

    return plan_again(file, study, catalogue_of_all(), data=data, model=model, say=say)
