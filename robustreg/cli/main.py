"""The `robustreg` command: its subcommands, and what it does with errors."""

from __future__ import annotations

import errno
import gc
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import Any, NoReturn

import click

from ..errors import DiskFullError, RobustregError, shown
from . import attack, compare, course, data, doctor, evaluate, plugins, report, resume, status, train, tune, verify
from .blame import blamed
from .interrupt import ignore, interruptible, leave
from .streams import open_streams, speak_plainly

INTERRUPTED = 130


class Commands(click.Group):
    """The built-in commands; those of plugins are looked up when a name is not among them."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command; plugins are loaded only for a name that no built-in has."""
        return super().get_command(ctx, name) or _of_plugins(self).get(name)


def _of_plugins(group: click.Group) -> dict[str, click.Command]:
    from ..plugins import discover

    theirs = click.Group()
    catalogue = discover()
    for origin, impl in catalogue.commands:
        try:
            with redirect_stdout(sys.stderr):
                impl.function(theirs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit included, as when a plugin is loaded
            click.echo(shown(f"plugin {origin}: commands() failed: {type(error).__name__}: {error}"), err=True)
    return {name: command for name, command in theirs.commands.items() if name not in group.commands}


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Plugins may add commands: robustreg plugins list.",
)
@click.version_option(package_name="robustreg", message="robustreg %(version)s")
def cli() -> None:
    """Which regularizer makes a classifier generalize and withstand attack, and how sure can you be?

    \b
    robustreg compare                                   the default arms on embedded digits
    robustreg compare none l1:1e-3 dropout:0.5          your own arms
    robustreg compare dropout:0.2,0.5 --data folder:PATH --model cnn --seeds 5
    """


for _module in (compare, train, evaluate, attack, tune, course, report, resume, status, verify, plugins, data, doctor):
    cli.add_command(_module.command)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; every error a user can cause is one message."""
    with interruptible(partial(_last_words, arguments), INTERRUPTED):
        return _run(arguments)


def _last_words(arguments: Sequence[str]) -> tuple[str, str]:
    said = _interrupted(arguments)
    return (f"{_error(said, INTERRUPTED)}\n" if "--json" in arguments else ""), shown(f"Error: {said}\n")


def _run(arguments: Sequence[str]) -> int:
    as_json = "--json" in arguments
    try:
        found = cli.main(list(arguments), prog_name="robustreg", standalone_mode=False)
        sys.stdout.flush()
        return found if isinstance(found, int) else 0
    except click.exceptions.Exit as done:
        return int(done.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:  # a group without a command shows what there is
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code, as_json, error)
    except RobustregError as error:
        return _fail(str(error), error.exit_code, as_json)
    except (KeyboardInterrupt, click.Abort):
        ignore()
        return _fail(_interrupted(arguments), INTERRUPTED, as_json)
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        _drop_output()
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _drop_output()
            return _fail(f"no room to write the output: {error.strerror}", DiskFullError.exit_code, False)
        return _unexpected(error, as_json)
    except (Exception, SystemExit) as error:  # a bug, ours or of code that the user named, which may also exit
        return _unexpected(error, as_json)


def _interrupted(arguments: Sequence[str]) -> str:
    again = shlex.join(("robustreg", *arguments))
    return f"interrupted; finished runs are safe. To go on, start it again: {again}"


def _error(message: str, code: int) -> str:
    return json.dumps({"error": {"message": message, "exit_code": code}})


def _drop_output() -> None:
    # What is still buffered has nowhere to go, and Python would complain about it at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unexpected(error: BaseException, as_json: bool) -> int:
    found = blamed(error)
    return _fail(str(found), found.exit_code, as_json)


def _fail(message: str, code: int, as_json: bool, error: click.ClickException | None = None) -> int:
    if as_json:
        click.echo(_error(message, code))
    context: Any = getattr(error, "ctx", None)
    if context is not None:
        click.echo(context.get_usage(), err=True)
    click.echo(shown(f"Error: {message}"), err=True)
    return code


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, by default on the process's arguments, and exit."""
    open_streams()
    speak_plainly()
    given = sys.argv[1:] if arguments is None else list(arguments)
    with interruptible(partial(_last_words, given), INTERRUPTED, last=True):
        try:
            code = _run(given)
        finally:
            ignore()
        if code == INTERRUPTED:
            # At once: Python takes a second to put torch away, and where the interruption met code that was made of
            # text, as that of dataclasses is, it would forget this exit code and end by a signal.
            leave(code)
    if arguments is None:
        # Before it ends Python looks through all that there is, and with torch that takes a second, for nothing.
        gc.freeze()
    sys.exit(code)
