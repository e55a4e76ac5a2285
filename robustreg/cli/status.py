"""`robustreg status`: how far a study is, from another shell."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from .options import json_option, study_argument
from .output import data_stream, duration


@click.command("status")
@study_argument
@json_option
def command(study: Path, as_json: bool) -> None:
    """Tell how far a study is, while it runs or after; nothing is written."""
    from ..study import status_of

    found = status_of(study)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=1), file=data_stream())
        return
    click.echo(found)
    words = {True: "Running", False: "Not running, and cut off", None: "Not to be asked whether it runs"}
    if found.holder is not None:
        click.echo(f"{words[found.running]}: {found.holder}")
    else:
        click.echo("Not running")
    if found.seconds_left is not None and found.left:
        click.echo(f"About {duration(found.seconds_left)} left")
    elif (found.left or found.failed) and not found.running:
        click.echo(f"To go on: robustreg resume {shlex.quote(str(study))}")
