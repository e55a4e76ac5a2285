"""`robustreg report`: table, verdict, figures and files of a study again, from its folder alone."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from .compare import write
from .options import json_option, report_options, study_argument
from .output import say


@click.command("report")
@study_argument
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write into [STUDY].")
@report_options
@json_option
def command(study: Path, out: Path | None, **options: Any) -> None:
    """Write the report of a study again, finished or not, from what is in its folder.

    Nothing is trained; neither the data nor the plugins are needed. The study may be running meanwhile.
    """
    from ..study.rebuild import rebuild

    comparison = rebuild(study)
    missing = comparison.study.get("unfinished", {}).get("missing", 0)
    if missing:
        again = f"robustreg resume {shlex.quote(str(study))}"
        say(f"{missing} of {comparison.study['unfinished']['runs']} runs are missing: {again}")
    write(comparison, study if out is None else out, options)
