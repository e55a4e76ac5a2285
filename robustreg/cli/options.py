"""Options that several commands share, and their values; free of torch."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from ..errors import UsageError
from .output import DOCUMENTS
from .toml import read_file
from .values import NUMBERS

F = TypeVar("F", bound=Callable[..., Any])

# Names that rooms which import torch know, too; a test compares them.
PROTOCOLS = ("quick", "standard", "paper")
OPTIMIZERS = ("sgd", "adam", "adamw")
LONGEST = 10**9  # seconds that a run may be given
LABEL_MODES = ("uniform", "uniform_other", "permute", "pair_flip")
RECIPE = ("epochs", "batch_size", "optimizer", "learning_rate", "momentum", "weight_decay", "shuffle")


def json_option(function: F) -> F:
    """Add --json: then standard output is for the document, and what code of others prints goes to standard error."""

    @functools.wraps(function)
    def apart(*given: Any, as_json: bool, **options: Any) -> Any:
        if not as_json:
            return function(*given, as_json=as_json, **options)
        click.get_current_context().meta[DOCUMENTS] = sys.stdout
        with redirect_stdout(sys.stderr):
            return function(*given, as_json=as_json, **options)

    add = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
    return cast(F, add(apart))


def data_option(function: F) -> F:
    """Add --data."""
    return click.option(
        "--data", default="digits", show_default=True, metavar="NAME[:key=value,...]",
        help="Data set: robustreg data list, or folder:PATH.",
    )(function)  # fmt: skip


def model_option(function: F) -> F:
    """Add --model."""
    return click.option(
        "--model", default="mlp", show_default=True, metavar="NAME[:key=value,...]",
        help="Network: mlp:hidden=64, cnn, resnet18 ..., or package.module:callable.",
    )(function)  # fmt: skip


def report_options(function: F) -> F:
    """Add what of a report is shown."""
    for option in reversed(
        (
            click.option("--cards", is_flag=True, help="Print a verdict card for each arm in place of the table."),
            click.option("--no-figures", is_flag=True, help="Leave the figures out."),
        )
    ):
        function = option(function)
    return function


def study_argument(function: F) -> F:
    """Add STUDY, the folder of a study."""
    return click.argument("study", type=click.Path(path_type=Path), metavar="STUDY")(function)


def named_again_options(function: F) -> F:
    """Add --data and --model, which a study's folder may name but which only a user may have opened or imported."""
    for option in reversed(
        (
            click.option("--data", metavar="NAME[:key=value,...]",
                         help="Where the data are now: needed for folder:PATH, which a study cannot ask for."),
            click.option("--model", metavar="package.module:callable",
                         help="The model's code: needed where the model is code, which a study cannot ask for."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def recipe_options(function: F) -> F:
    """Add what decides how a run is trained."""
    for option in reversed(
        (
            click.option("--epochs", type=click.IntRange(min=0), help="Epochs of a training."),
            click.option("--batch-size", type=click.IntRange(min=1), help="Images a step [50]."),
            click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="Optimizer [sgd]."),
            click.option("--learning-rate", type=float, help="Base learning rate [0.05]."),
            click.option("--momentum", type=float, help="Momentum [0.9]."),
            click.option("--weight-decay", type=float, help="The optimizer's weight decay [0]."),
            click.option("--shuffle/--no-shuffle", default=None, help="A new order of the images each epoch [yes]."),
        )
    ):
        function = option(function)
    return function


def engine_option(function: F) -> F:
    """Add --engine."""
    return click.option(
        "--engine", default="auto", show_default=True, metavar="NAME[:key=value]",
        help="Where runs are done: serial, local (worker processes), local:workers=4, one of a plugin such as ray;"
        " auto: local where it pays.",
    )(function)  # fmt: skip


def run_seconds_option(function: F) -> F:
    """Add --run-seconds."""
    return click.option(
        "--run-seconds", type=click.FloatRange(min=0, max=LONGEST), metavar="S",
        help="Longest that a run may take; one that takes longer has failed. 0: for ever [0].",
    )(function)  # fmt: skip


def attack_options(function: F) -> F:
    """Add what decides the attacks."""
    for option in reversed(
        (
            click.option("--eps", type=NUMBERS, metavar="0,1/16,...", help="Attack sizes, in pixel units."),
            click.option("--headline-eps", type=NUMBERS, metavar="EPS", help="The size at which robustness is judged."),
            click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True),
            click.option("--protocol", type=click.Choice(PROTOCOLS), default="quick", show_default=True),
        )
    ):
        function = option(function)
    return function


def common_options(function: F) -> F:
    """Add --device, --json and -f."""
    for option in reversed(
        (
            click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
            json_option,
            click.option(
                "-f", "--file", type=click.Path(), callback=read_file, is_eager=True, expose_value=False,
                metavar="STUDY.TOML", help="Take options from a TOML file.",
            ),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def recipe_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `recipe_options` that were given."""
    return {name: options[name] for name in RECIPE if options[name] is not None}


def one(numbers: tuple[float, ...] | None, option: str) -> float | None:
    """Return the single number of an option that takes one."""
    if numbers is not None and len(numbers) != 1:
        raise UsageError(f"{option} takes one number, got {len(numbers)}")
    return numbers[0] if numbers else None


def device_of(name: str) -> str:
    """Return the torch device a user asked for; `auto` is CUDA where there is one."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device here; use --device cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
