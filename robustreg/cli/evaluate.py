"""`robustreg evaluate`: the measures of a model, one of ours or the user's own."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from .options import attack_options, common_options, device_of, one
from .output import console, print_json, say

if TYPE_CHECKING:
    from torch import nn

    from ..data import Splits
    from ..errors import RobustregError
    from ..measures import Measure
    from ..plugins import Catalogue


def subject_options(function: Any) -> Any:
    """Add what says which model is looked at, and on which data."""
    for option in reversed(
        (
            click.argument("model"),
            click.option("--data", metavar="NAME[:key=value,...]", help="Data set [what the model was trained on]."),
            click.option("--model", "network", metavar="NAME", help="How the network of a model file is made."),
            click.option(
                "--weights", type=click.Path(),
                help="Weights for a package.module:callable: .safetensors, or .pt with --allow-pt.",
            ),
            click.option(
                "--allow-pt", is_flag=True,
                help="Read --weights also if torch.save wrote them: a pickle, read with weights_only=True.",
            ),
            click.option("--whole", is_flag=True, help="Measure on every image: none was used in training."),
            click.option("--seed", type=int, help="Random starts of the attacks, and without a model file the split."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


@click.command("evaluate")
@subject_options
@attack_options
@common_options
def command(**options: Any) -> int:
    """Measure a trained model on the test split of a data set, or with --whole on all of it.

    MODEL is a model file (robustreg train, or the models folder of a study), or package.module:callable that returns
    a torch.nn.Module from pixels in [0, 1] to logits.
    """
    from ..errors import printable
    from ..measures import BUILT_IN, measure_all, sandwich, subject_of, trust_flags
    from ..plugins import discover

    catalogue = discover()
    network, splits, about = load_subject(options, catalogue)
    subject = subject_of(
        network,
        splits,
        seed=about["seed"],
        eps=options["eps"],
        headline_eps=one(options["headline_eps"], "--headline-eps"),
        protocol=options["protocol"],
        norm=options["norm"],
    )
    unmeasured: dict[str, str] = {}

    def failed(measure: Measure, error: RobustregError) -> None:
        if measure in BUILT_IN:  # the model is to blame, or we are
            raise error
        unmeasured[measure.name] = printable(str(error))

    measures = measure_all(subject, catalogue.offers["measures"].values(), on_error=failed)
    for reason in unmeasured.values():
        say(f"Warning: not measured: {reason}")
    trust = [flag for flag in (*trust_flags(subject), sandwich(subject)) if flag is not None]
    if options["as_json"]:
        print_json({**about, "measures": measures, "unmeasured": unmeasured, "trust": trust})
        return 0
    from rich.table import Table

    table = Table("measure", "value", title=f"{about['model']} on {about['data']}", title_justify="left")
    for name, value in measures.items():
        curve = isinstance(value, dict) and "  ".join(f"{key}: {number:.3f}" for key, number in value.items())
        weak = " (weak)" if name.startswith("fgsm") else ""
        table.add_row(f"{name}{weak}", curve or f"{value:.4g}")
    out = console()
    out.print(table)
    for flag in trust:
        out.print(f"{flag['level']}, {flag['flag'].replace('_', ' ')}: {flag['says']}", markup=False)
    return 0


def load_subject(options: dict[str, Any], catalogue: Catalogue) -> tuple[nn.Module, Splits, dict[str, Any]]:
    """Return network, splits, and what the results say they are about."""
    from .. import checkpoint
    from ..data import as_test, load_dataset, make_splits
    from ..errors import UsageError
    from ..models import check_fits
    from ..resolve import is_import, model_of
    from ..study import versions

    manifest: dict[str, Any] = {}
    own = is_import(options["model"], catalogue)
    if not own:
        _, manifest = checkpoint.read(options["model"])
    elif options["network"]:
        raise UsageError("--model says how the network of a model file is made; MODEL is a callable here")
    seed = options["seed"] if options["seed"] is not None else int(manifest.get("seed", 0))
    data = options["data"] or _said(manifest, options["model"], catalogue) or "digits"
    # The model's own split, whatever the seed of the attacks: another one would test it on what it has learned.
    drawn = int(manifest.get("seed", seed))
    if manifest.get("data", data) != data and not options["whole"]:
        say(f"Warning: the model was trained on {manifest['data']}; images of {data} may be among those it learned")
    if manifest.get("data") == data and options["whole"]:
        say(f"Warning: the model was trained on {data}, and --whole measures it on the images it learned, too")
    dataset, sizes = load_dataset(data, sources=catalogue.offers["datasets"].values(), say=say)
    splits = as_test(dataset, seed=drawn) if options["whole"] else make_splits(dataset, seed=drawn, **sizes)
    names = manifest.get("class_names", list(splits.classes))
    if names != list(splits.classes):
        shown = [", ".join(names), ", ".join(splits.classes)]
        raise UsageError(f"the model knows the classes {shown[0]}; {data} has {shown[1]}")
    shape, classes = splits.shape, len(splits.classes)
    if own:
        _, build = model_of(options["model"], catalogue)
        network = build(shape, classes)
        if options["weights"]:
            checkpoint.load_into(network, options["weights"], options["model"], allow_pt=options["allow_pt"])
    else:
        network = checkpoint.restore(options["model"], catalogue, options["network"], shape=shape, classes=classes)
    check_fits(network, shape, classes, options["model"])
    about = {"model": options["model"], "data": data, "seed": seed, "versions": versions()}
    return network.to(device_of(options["device"])), splits, about


def _said(manifest: dict[str, Any], file: str, catalogue: Catalogue) -> str | None:
    """Return the data that a model file names; a UsageError if that leads to a path: whoever made the file wrote it."""
    from ..data.options import parse
    from ..errors import UsageError

    data: str | None = manifest.get("data")
    if data and any(isinstance(value, str) for value in parse(data, catalogue.offers["datasets"])[1].values()):
        raise UsageError(f"{file} says that its data is {data}; to read that, say --data {shlex.quote(data)}")
    return data
