"""What goes to standard output (data) and to standard error (everything said on the way)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ..errors import shown

if TYPE_CHECKING:
    from ..study import Progress

    Show = Any

DOCUMENTS = "robustreg.documents"  # in the context of a command: where its JSON document goes, if not where prints do
PLAIN_WIDTH = 120  # where the output is no terminal
QUIET_SECONDS = 5.0  # between two lines of progress where it cannot be drawn


def console(file: TextIO | None = None) -> Console:
    """Return a console on `file` (standard output); colour and drawing only on a terminal, and not with NO_COLOR."""
    where = file or sys.stdout
    width = None if where.isatty() or os.environ.get("COLUMNS") else PLAIN_WIDTH
    return _Console(file=where, width=width, highlight=False, soft_wrap=False, markup=False, emoji=False)


class _Console(Console):
    """Rich's console, with every text made harmless: names come from plugins, files and folders."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Make text of a string, before anyone counts its columns."""
        return super().render_str(shown(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, whatever made the text."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else shown(text), style, control)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # which is no failure of the command: see main.run


def say(message: str) -> None:
    """Say something that is not data."""
    click.echo(shown(message), err=True)


def print_json(document: Any) -> None:
    """Print one JSON document; numbers that JSON does not have become null."""
    from ..report import to_json

    click.echo(to_json(document), file=data_stream())


def data_stream() -> TextIO:
    """Return standard output, also while what others print goes elsewhere (see `options.json_option`)."""
    context = click.get_current_context(silent=True)
    kept: TextIO | None = context.meta.get(DOCUMENTS) if context else None
    return kept or sys.stdout


@contextmanager
def progress() -> Iterator[Any]:
    """Give a function that shows how far a study is: drawn on a terminal, else a line now and then."""
    error = console(sys.stderr)
    if not error.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    texts = (TextColumn(field, markup=False) for field in ("{task.fields[left]}", "{task.description}"))
    columns = (BarColumn(), MofNCompleteColumn(), *texts)
    with Bar(*columns, console=error, transient=True) as bar:
        task = bar.add_task("", total=None, left="")

        def show(at: Progress) -> None:
            failed = f" · {at.failed} failed" if at.failed else ""
            left = f"{duration(at.seconds_left)} left{failed}" if at.seconds_left is not None else failed
            bar.update(task, completed=at.done + at.part, total=at.total, left=left, description=at.running)

        yield show


class _Lines:
    def __init__(self) -> None:
        self._said = -QUIET_SECONDS

    def __call__(self, at: Progress) -> None:
        now = time.monotonic()
        if at.running and now - self._said >= QUIET_SECONDS:
            left = f", {duration(at.seconds_left)} left" if at.seconds_left is not None else ""
            say(f"{at.done} of {at.total} done{left}: {at.running}")
            self._said = now


def duration(seconds: float) -> str:
    """Return a time as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
