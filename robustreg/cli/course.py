"""`robustreg course`: the experiments of the regularization tutorial."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..engines import check_engine
from .options import engine_option, json_option
from .output import console, duration, print_json, progress, say

if TYPE_CHECKING:
    from ..course.recipe import Recipe
    from ..course.result import RecipeResult

LOST_RUNS = 1
FOLDER = "robustreg-out/course"
FORMS = ("faithful", "corrected", "both")
LIST = "list"


@click.command("course")
@click.argument("names", nargs=-1, metavar="[list | NAME...]")
@click.option("--form", type=click.Choice(FORMS), default="both", show_default=True,
              help="As the tutorial did it, without its flaws, or side by side.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds of the corrected form [10].")
@click.option(
    "--epochs", type=click.IntRange(min=0), help="The most epochs of any run, for a trial [as the recipe says]."
)
@click.option("--afhq", type=click.Path(path_type=Path, file_okay=False), metavar="PATH",
              help="Your folder of animal faces, afhq/{train,val}/{cat,dog,wild}, not the stand-in.")  # fmt: skip
@click.option("--spot", is_flag=True, help="Spot the flaw: the faithful form alone, with nothing said against it.")
@engine_option
@click.option("--out", type=click.Path(path_type=Path), default=FOLDER, show_default=True, metavar="DIR",
              help="Folder for what is kept and written.")  # fmt: skip
@click.option("--no-figures", is_flag=True, help="Leave the pictures out.")
@json_option
def command(names: tuple[str, ...], **options: Any) -> int:
    """Run the experiments of the regularization tutorial, as printed and corrected.

    The tutorial is W2D1 of Neuromatch Academy's Deep learning. `course list` names the recipes; without a NAME all are
    run. Every recipe has two forms: faithful, flaws and all, and corrected: one split, validation and test, ten seeds,
    intervals. Without the tutorial's animal faces (--afhq, or robustreg data get afhq) digits under noise stand in for
    them. Finished studies are kept: started again, only what is missing is trained.
    """
    if names == (LIST,):
        return _list(options["as_json"])
    check_engine(options["engine"])
    from ..course import faces, files
    from ..course.result import FAITHFUL
    from ..course.run import run_recipe
    from ..course.spot import unsaid
    from ..errors import UsageError
    from ..plugins import discover

    wanted = [files.recipe(name) for name in dict.fromkeys(names or files.names())]
    form = options["form"]
    if options["spot"]:
        if form == "corrected":
            raise UsageError("--spot shows the faithful form; leave out --form corrected")
        form = FAITHFUL
    path = options["afhq"] or ("" if faces.have_faces() else None)
    catalogue, folder, started = discover(), options["out"], time.perf_counter()
    for failure in catalogue.failures:
        say(f"Warning: {failure}")
    if path is None:
        say("Note: without the animal faces, digits under noise stand in for them; see robustreg data info afhq.")
    if form == "both" and (options["seeds"], options["epochs"]) == (None, None):
        say(f"Note: about {duration(sum(one.seconds for one in wanted))} on two cores, if nothing is kept from before.")
    if options["epochs"] is not None:
        say("Note: with --epochs, golden values of whole trainings are not reached.")
    recipes: list[Recipe] = []
    results: list[RecipeResult] = []
    paths: list[Path] = []
    for recipe in wanted:
        begun = time.perf_counter()
        with progress() as show:
            result = run_recipe(
                recipe, folder, catalogue, forms=FORMS[:2] if form == "both" else (form,), seeds=options["seeds"],
                epochs=options["epochs"], faces=path, engine=options["engine"], on_progress=show, say=say,
            )  # fmt: skip
        if options["spot"]:
            recipe, result = unsaid(recipe, result)
        recipes.append(recipe)
        results.append(result)
        paths += _pictures(recipe, result, folder, options)
        title = recipe.title if options["spot"] else f"{recipe.name}: {recipe.title}"
        say(f"{title} · {duration(time.perf_counter() - begun)}")
    _show(recipes, results, paths, folder, options)
    say(f"Done in {duration(time.perf_counter() - started)}.")
    runs = (run for result in results for form in result.forms for part in form.parts for run in part.runs)
    return LOST_RUNS if any(run.status != "ok" for run in runs) else 0


def _list(as_json: bool) -> int:
    from rich.table import Column, Table

    from ..course import files

    rows: list[dict[str, Any]] = [
        {
            "name": recipe.name,
            "title": recipe.title,
            "experiments": list(recipe.experiments),
            "about": recipe.about,
            "printed": recipe.printed,
            "forms": list(recipe.forms),
            "flaws": [flaw.number for flaw in recipe.flaws],
            "seconds": recipe.seconds,
        }
        for recipe in map(files.recipe, files.names())
    ]
    if as_json:
        print_json(rows)
        return 0
    name = Column("name", no_wrap=True, min_width=max(len(row["name"]) for row in rows))  # to be typed
    takes = Column("takes about", no_wrap=True)
    table = Table(name, "tutorial", "title", "the tutorial printed", "flaws", takes)
    for row in rows:
        flaws = ", ".join(map(str, sorted(row["flaws"])))
        table.add_row(
            row["name"], ", ".join(row["experiments"]), row["title"], row["printed"], flaws, duration(row["seconds"])
        )
    console().print(table)
    console().print(f"On two cores; all together {duration(sum(row['seconds'] for row in rows))}.", markup=False)
    return 0


def _pictures(recipe: Recipe, result: RecipeResult, folder: Path, options: dict[str, Any]) -> list[Path]:
    if options["no_figures"]:
        return []
    from ..course import pictures

    try:
        return pictures.draw(recipe, result, folder / recipe.name / "pictures")
    except Exception as error:  # whatever a picture trips over, the numbers are more than it
        say(f"Warning: the pictures of {recipe.name} could not be drawn: {type(error).__name__}: {error}")
        return []


def _show(
    recipes: list[Recipe], results: list[RecipeResult], paths: list[Path], folder: Path, options: dict[str, Any]
) -> None:
    """Write the table and the numbers, and print them."""
    from ..course import table
    from ..report import to_json
    from ..study import write_whole

    pairs = list(zip(recipes, results, strict=True))
    golden = table.golden_lines(results)
    document = {
        "table": table.rows(pairs),
        "golden": golden,
        "recipes": [result.to_dict() for result in results],
    }
    written = []
    if not options["spot"]:
        files = {"course.json": to_json(document), "course.txt": "\n".join([table.overview_text(pairs), "", *golden])}
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_whole(folder / name, f"{text}\n".encode())
            written.append(folder / name)
    if options["as_json"]:
        print_json({**document, "paths": [str(path) for path in (*written, *paths)]})
        return
    out = console()
    for recipe, result in pairs if len(pairs) == 1 or options["spot"] else []:
        out.print(f"{recipe.title}\n{recipe.about}\n", markup=False)
        for form in result.forms:
            out.print(table.sheet(form))
        for line in [] if options["spot"] else table.words_of(recipe, result):
            out.print(line, markup=False)
        out.print()
    if options["spot"]:
        out.print(
            "What is wrong with it? The answers: robustreg course with the same name, without --spot.", markup=False
        )
    else:
        out.print(table.overview(pairs))
    for line in golden:
        out.print(line, markup=False)
    for path in (*written, *paths):
        out.print(str(path), markup=False, soft_wrap=True)
