"""The pictures of the course draw the numbers they are given, and say what is missing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy import stats
from torch import nn

from robustreg import train
from robustreg.course import files
from robustreg.course.animation import animation, write_gif
from robustreg.course.pictures import ANIMATION, PICTURES, draw
from robustreg.course.pictures.attack_curves import headline
from robustreg.course.pictures.frame import MOST_POINTS, class_names, classes_of, guessing_band
from robustreg.course.pictures.norm_bars import total
from robustreg.course.recipe import Flaw, Recipe
from robustreg.course.recorder import Recorder
from robustreg.course.result import (
    FormResult,
    PartResult,
    Points,
    Reading,
    RecipeResult,
    SeedResult,
    Snapshot,
)
from robustreg.data import Split, Splits
from robustreg.errors import UsageError
from robustreg.report import page

FLAW = Flaw(4, "The number that chose is the number that is reported.")
RECIPE = Recipe(
    "toy",
    ("T1",),
    "A title with $x$, so long that one line of a narrow page does not hold it",
    "About.",
    "printed",
    "lesson",
    (FLAW,),
    tuple(PICTURES),
)
EPS = (0.0, 0.0625, 0.125, 0.1875)


def run(at: int, seed: int, *, status: str = "ok", epochs: int = 12, regression: bool = False) -> SeedResult:
    """A run whose numbers follow from the position of its part and its seed."""
    if status != "ok":
        return SeedResult(seed, status, f"{status} because of <&>")
    history = []
    for epoch in range(epochs):
        up = 1 - 0.6 * 0.7 ** (epoch + at) + 0.01 * seed
        row = {
            "epoch": epoch,
            "train_loss": 1 - up,
            "learning_rate": 0.01 * (at + 1),
            "frobenius_norm": 7 + at + 0.1 * epoch,
        }
        if regression:
            row |= {"train_error": 2 * 0.5**epoch + 0.01 * seed, "val_error": 0.3 + (epoch - 4) ** 2 / 10 + 0.01 * at}
        else:
            bump = 0.1 * math.sin(epoch + seed)
            row |= {"train_accuracy": min(1.0, 1.02 * up), "val_accuracy": 0.6 + bump + 0.02 * at, "val_nll": 1.0}
        history.append(row)
    worst = {repr(eps): 0.9 - (3 + at) * eps for eps in EPS}
    weak = {repr(eps): 0.9 - 2 * eps + 0.01 * seed for eps in EPS}
    rng = np.random.default_rng([at, seed])
    clean = rng.uniform(0.2, 0.8, (3, 1, 8, 8))
    return SeedResult(
        seed,
        history=tuple(history),
        initial_norms={"1.weight": 6.0 + at, "1.bias": 0.5, "3.weight": 2.0 + 0.1 * seed},
        final_norms={"1.weight": 8.0 + at, "1.bias": 0.7, "3.weight": 3.0 + 0.1 * seed},
        numbers={
            "clean_accuracy": 0.9,
            "fgsm_accuracy": weak["0.125"],
            "robust_accuracy": worst["0.125"],
            "fgsm_curve": weak,
            "robust_curve": worst,
            "fgsm_cross_entropy_accuracy": 0.8,
            "fgsm_cross_entropy_curve": {repr(eps): 0.8 + 0.01 * seed for eps in EPS},
            "accuracy_by_class": {"cat": 0.5, "dog": 0.6},
        },
        examples={
            "clean": clean.tolist(),
            "adversarial": (clean + 0.125 * rng.choice([-1, -0.5, 1], clean.shape)).tolist(),
            "label": [0, 1, 2],
            "predicted_clean": [0, 1, 1],
            "predicted": [1, 1, 0],
        },
        snapshots=tuple(Snapshot(500 * k, tuple(0.1 * k * x for x in range(40))) for k in range(6))
        if regression
        else (),
    )


def part(
    at: int,
    label: str,
    seeds: Sequence[int],
    *,
    lost: Mapping[int, str] | None = None,
    regression: bool = False,
    spec: str = "none",
    epochs: int = 12,
) -> PartResult:
    runs = tuple(
        run(at, seed, status=(lost or {}).get(seed, "ok"), epochs=epochs - seed % 2, regression=regression)
        for seed in seeds
    )
    points = Points((0.1, 0.5), (1.0, 2.0), tuple(np.linspace(0, 1, 40)), tuple(np.linspace(0, 2, 40)))
    readings = (
        Reading("clean_accuracy", 0.8 + 0.01 * at, 0.75, 0.85, len(seeds)),
        Reading("max:val_accuracy", 0.9),
        Reading("final_norm", 8.0 + at),
    )
    return PartResult(
        label,
        spec,
        "true",
        "robustreg.course.toy:line" if regression else "digits",
        "toy" if regression else "mlp",
        17226,
        100,
        100,
        500,
        24,
        {"epochs": 20},
        dict.fromkeys(seeds, "hash"),
        runs,
        readings,
        points if regression else None,
    )


def result(seeds: Sequence[int] = (0, 1, 2), **options: Any) -> RecipeResult:
    """A recipe of two parts, printed with one seed and corrected with several."""
    forms = []
    for form, those in (("faithful", (2021,)), ("corrected", seeds)):
        parts = tuple(part(at, label, those, **options) for at, label in enumerate(("nothing", "L1 $x$")))
        forms.append(FormResult(form, "Says.", parts, baseline="nothing"))
    return RecipeResult("toy", *forms)


def axes_named(figure: Figure, name: str, which: int = 0) -> Axes:
    return [axes for axes in figure.axes if axes.get_title(loc="left") == name][which]


def line(axes: Axes, label: str) -> np.ndarray:
    return next(each for each in axes.get_lines() if each.get_label() == label).get_xydata()


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")


# what is drawn is what was given


@pytest.mark.parametrize("form", [0, 1])
def test_learning_curves_draw_the_mean_over_seeds_and_its_interval(form: int) -> None:
    results = result()
    figure = PICTURES["learning_curves"](results, RECIPE)
    runs = results.forms[form].parts[1].runs
    epochs = min(len(each.history) for each in runs)
    truth = np.array([[100 * row["val_accuracy"] for row in each.history[:epochs]] for each in runs])
    axes = axes_named(figure, "L1 $x$", form)
    drawn = line(axes, "validation")
    assert drawn[:, 0].tolist() == list(range(1, epochs + 1))
    assert drawn[:, 1] == pytest.approx(truth.mean(0))
    bands = [band for band in axes.collections if len(band.get_paths()[0].vertices) > 8]
    assert len(bands) == (0 if form == 0 else 2)  # one seed has no interval
    if bands:
        low, high = stats.t.interval(0.95, 2, truth.mean(0), stats.sem(truth, axis=0))
        corners = {tuple(np.round(corner, 6)) for corner in bands[1].get_paths()[0].vertices}
        ends = zip(range(1, epochs + 1), low, high, strict=True)
        assert all({(e, round(a, 6)), (e, round(b, 6))} <= corners for e, a, b in ends)


def test_the_best_epoch_is_marked_where_validation_was_first_best() -> None:
    results = result()
    figure = PICTURES["learning_curves"](results, RECIPE)
    for at, form in enumerate(results.forms):
        values = [[row["val_accuracy"] for row in each.history] for each in form.parts[0].runs]
        axes = axes_named(figure, "nothing", at)
        rules = {
            each.get_xdata()[0]
            for each in axes.get_lines()
            if each.get_linestyle() == ":" and each.get_linewidth() == 0.9
        }
        assert rules == {float(np.mean([1 + int(np.argmax(each)) for each in values]))}
        best, last = (100 * np.mean([pick(each) for each in values]) for pick in (max, lambda each: each[-1]))
        assert f"best {best:.1f} %, last {last:.1f} %" in texts(figure)


def test_a_long_history_is_thinned_but_keeps_both_ends() -> None:
    results = result((0,), epochs=3001)
    drawn = line(axes_named(PICTURES["learning_curves"](results), "nothing"), "training")
    assert len(drawn) <= MOST_POINTS + 1
    assert drawn[[0, -1], 0].tolist() == [1, len(results.forms[0].parts[0].runs[0].history)]


def test_overlays_mark_the_first_full_epoch_of_the_mean() -> None:
    made = result()
    figure = PICTURES["memorization"](made, RECIPE)
    mean = np.mean([[row["train_accuracy"] for row in each.history[:11]] for each in made.forms[1].parts[1].runs], 0)
    full = int(np.argmax(mean >= 1)) + 1 if (mean >= 1).any() else None
    dots = [tuple(each.get_xydata()[0]) for each in figure.axes[2].get_lines() if len(each.get_xdata()) == 1]
    assert (full is not None) == bool([dot for dot in dots if dot == (full, 100.0)])
    assert full is not None  # or nothing was tested
    assert "first epoch at 100 %" in texts(figure)


def test_norm_curve_draws_the_norm_of_every_part_in_one_look_a_label() -> None:
    results = result()
    figure = PICTURES["norm_curve"](results, RECIPE)
    for at, axes in enumerate(figure.axes):
        for number, label in enumerate(("nothing", "L1 $x$")):
            drawn = line(axes, label)
            assert drawn[:, 1] == pytest.approx(7 + number + 0.1 * (drawn[:, 0] - 1)), (at, label)
    colors = [{each.get_color() for each in axes.get_lines() if each.get_label() == "L1 $x$"} for axes in figure.axes]
    assert colors[0] == colors[1]


def test_learning_rates_are_named_by_what_the_runs_recorded() -> None:
    said = texts(PICTURES["learning_rates"](result(), RECIPE))
    assert "learning rate 0.01" in said and "learning rate 0.02" in said


def test_norm_bars_show_each_weight_tensor_before_and_after_and_the_total_with_biases() -> None:
    results = result()
    figure = PICTURES["norm_bars"](results, RECIPE)
    axes = axes_named(figure, "L1 $x$", 1)
    before, after = axes.containers
    assert [bar.get_height() for bar in before] == pytest.approx([7.0, 2.1])
    assert [bar.get_height() for bar in after] == pytest.approx([9.0, 3.1])
    totals = [np.mean([total(getattr(each, name)) for each in results.forms[1].parts[1].runs])
              for name in ("initial_norms", "final_norms")]  # fmt: skip
    assert totals[0] == pytest.approx(np.mean([math.sqrt(49 + 0.25 + (2 + 0.1 * seed) ** 2) for seed in range(3)]))
    assert f"total {totals[0]:.4g} → {totals[1]:.4g}" in texts(figure)


def test_a_network_that_was_not_trained_has_bars_of_one_kind() -> None:
    made = result()
    parts = tuple(
        replace(each, runs=tuple(replace(one, final_norms=one.initial_norms) for one in each.runs))
        for each in made.forms[0].parts
    )
    figure = PICTURES["norm_bars"](RecipeResult("toy", replace(made.forms[0], parts=parts)), RECIPE)
    assert all(len(axes.containers) == 1 for axes in figure.axes)


def test_early_stopping_shades_the_wait_and_hatches_what_was_saved() -> None:
    results = result()
    figure = PICTURES["early_stopping"](results, RECIPE)
    history = results.forms[1].parts[0].runs[0].history
    best = 1 + int(np.argmax([row["val_accuracy"] for row in history]))
    axes = axes_named(figure, "nothing", 1)
    spans = {
        each.get_label(): (each.get_x(), each.get_x() + each.get_width())
        for each in axes.patches
        if each.get_label() in ("waited", "not needed")
    }
    assert spans == {"waited": (best, len(history)), "not needed": (len(history), 20)}
    assert f"in epoch {best}, stopped after {len(history)} of 20" in texts(figure)
    ticks = line(axes, "best of each seed")
    assert ticks[:, 0].tolist() == [
        1 + int(np.argmax([row["val_accuracy"] for row in each.history])) for each in results.forms[1].parts[0].runs
    ]


def test_attack_curves_draw_naive_and_adaptive_attacks_by_eps() -> None:
    figure = PICTURES["attack_curves"](result(), RECIPE)
    axes = axes_named(figure, "L1 $x$", 1)
    assert line(axes, "every attack, the worst")[:, 1] == pytest.approx([100 * (0.9 - 4 * eps) for eps in EPS])
    assert line(axes, "FGSM, on a loss that scale does not fool") == pytest.approx(
        np.array([[eps, 100 * (0.91 - 2 * eps)] for eps in EPS])
    )
    assert line(axes, "fgsm cross entropy")[:, 1] == pytest.approx([81.0] * 4)
    worst = 100 * (0.9 - 4 * 0.125)
    assert f"at eps 0.125: naive 81 %, worst {worst:.0f} %" in texts(figure)  # the kindest of the naive ones
    assert "cat" not in texts(figure)  # a mapping by class is no curve by eps


def test_an_attack_with_a_curve_of_its_own_is_drawn_as_one() -> None:
    made = result()
    curve = {repr(eps): 0.5 for eps in EPS}
    for numbers in ({"naive_curve": curve}, {"attack_curves": {"naive": curve}}):
        parts = tuple(
            replace(each, runs=tuple(replace(one, numbers=numbers) for one in each.runs))
            for each in made.forms[1].parts
        )
        figure = PICTURES["attack_curves"](RecipeResult("toy", None, replace(made.forms[1], parts=parts)))
        assert line(axes_named(figure, "nothing"), "naive")[:, 1].tolist() == [50.0] * 4


def test_the_headline_eps_is_known_only_where_a_curve_tells_it() -> None:
    good = part(0, "a", (0, 1))
    assert headline(good) == 0.125
    bare = replace(good, runs=tuple(replace(one, numbers={"fgsm_accuracy": 0.5}) for one in good.runs))
    assert headline(bare) is None


def test_attack_examples_amplify_the_change_and_say_what_the_network_says() -> None:
    results = result()
    figure = PICTURES["attack_examples"](results, RECIPE)
    kept = results.forms[1].parts[0].runs[0].examples
    clean, change, moved = (np.asarray(axes.images[0].get_array()) for axes in figure.axes[:3])
    assert clean == pytest.approx(np.asarray(kept["clean"])[0, 0])
    assert change == pytest.approx(0.5 + 4 * (np.asarray(kept["adversarial"]) - np.asarray(kept["clean"]))[0, 0])
    assert moved == pytest.approx(np.clip(np.asarray(kept["adversarial"])[0, 0], 0, 1))
    said = [axes.get_xlabel() for axes in figure.axes[:6]]
    assert said == ["✓ says 0", "label 0", "✗ says 1", "✓ says 1", "label 1", "✓ says 1"]


def test_a_squeezing_defence_shows_what_it_hands_on() -> None:
    parts = (part(0, "nothing", (0,)), part(1, "squeezed", (0,), spec="feature_squeeze:2"))
    results = RecipeResult("toy", None, FormResult("corrected", "", parts))
    figure = PICTURES["attack_examples"](results, RECIPE)
    rows = np.array(figure.axes).reshape(-1, 4)
    assert [len(axes.images) for axes in rows[0]] == [1, 1, 1, 0]  # nothing is squeezed there
    seen = np.asarray(rows[2, 3].images[0].get_array())
    moved = np.asarray(parts[1].runs[0].examples["adversarial"])[0, 0]
    assert seen == pytest.approx(np.round(np.clip(moved, 0, 1) * 3) / 3, abs=1e-6)  # two bits: four levels
    assert rows[2, 3].get_xlabel() == "✗ says 1" and rows[2, 2].get_xlabel() == ""


def test_readings_put_the_printed_number_beside_the_corrected_one() -> None:
    figure = PICTURES["readings"](result(), RECIPE)
    shares, norms = figure.axes
    points = [each for each in shares.get_lines() if each.get_linestyle() == "None"]
    at = sorted((round(float(each.get_xdata()[0]), 6), each.get_markerfacecolor() == "white") for each in points)
    assert at == sorted([(80.0, True), (81.0, True), (80.0, False), (81.0, False)] + 2 * [(90.0, True), (90.0, False)])
    bars = [
        each.get_xdata() for each in shares.get_lines() if len(each.get_xdata()) == 2 and each.get_linewidth() == 1.6
    ]
    assert len(bars) == 4 and all(list(bar) == pytest.approx([75, 85]) for bar in bars)
    assert norms.get_xlabel() == "norm of the weights after training"
    assert [axes.get_xlabel() for axes in PICTURES["selection"](result(), RECIPE).axes] == ["accuracy (%)"]


def test_the_fit_is_drawn_at_a_few_epochs_from_the_first_to_the_last() -> None:
    results = result(regression=True)
    figure = PICTURES["toy_fit"](results, RECIPE)
    snapshots = results.forms[0].parts[0].runs[0].snapshots
    titles = [axes.get_title(loc="left") for axes in figure.axes[:4]]
    assert titles[0] == "epoch 0" and titles[-1] == "epoch 2,500"
    for axes, title in zip(figure.axes[:4], titles, strict=True):
        shown = next(one for one in snapshots if f"epoch {one.epoch:,}" == title)
        assert line(axes, "network")[:, 1] == pytest.approx(shown.outputs)
        assert line(axes, "truth")[:, 1] == pytest.approx(np.linspace(0, 2, 40))
        assert line(axes, "learned from").tolist() == [[0.1, 1.0], [0.5, 2.0]]


def test_learning_curves_of_a_regression_are_its_errors_on_a_logarithmic_axis() -> None:
    figure = PICTURES["learning_curves"](result(regression=True), RECIPE)
    assert [axes.get_yscale() for axes in figure.axes] == ["log"] * 4
    assert line(figure.axes[1], "nothing")[:, 1] == pytest.approx([0.3 + (e - 4) ** 2 / 10 for e in range(11)])
    FigureCanvasAgg(figure).draw()
    assert "mathdefault" not in texts(figure)  # mathematics is not parsed: a label would show its source
    dots = [tuple(each.get_xydata()[0]) for each in figure.axes[1].get_lines() if len(each.get_xdata()) == 1]
    assert dots == [pytest.approx((5, 0.3)), pytest.approx((5, 0.31))]  # the lowest error of each part


# guessing


@pytest.mark.parametrize("images", [1, 7, 100, 297, 2000])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_band_of_guessing_is_the_binomial_one(images: int, classes: int) -> None:
    truth = stats.binom.ppf([0.025, 0.975], images, 1 / classes) / images
    assert guessing_band(images, classes) == pytest.approx(tuple(truth))


def test_what_guessing_gets_is_drawn_where_the_classes_are_known() -> None:
    made = result()
    assert classes_of(made.forms[0].parts[0]) == 10
    assert class_names(made.forms[0].parts[0]) == tuple("0123456789")
    axes = PICTURES["learning_curves"](made, RECIPE).axes[0]
    assert [10.0, 10.0] in [list(each.get_ydata()) for each in axes.get_lines()]
    strange = tuple(replace(each, data="folder:/x") for each in made.forms[0].parts)
    axes = PICTURES["learning_curves"](RecipeResult("toy", replace(made.forms[0], parts=strange))).axes[0]
    assert [10.0, 10.0] not in [list(each.get_ydata()) for each in axes.get_lines()]


# what is missing, and what is said


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_fails_for_what_is_missing(name: str) -> None:
    picture, full = PICTURES[name], result(regression=name == "toy_fit")
    gone = result(lost={2021: "diverged", 0: "failed", 1: "failed", 2: "diverged"})
    bare = [
        replace(
            form, parts=tuple(replace(each, runs=(SeedResult(0),), readings=(), points=None) for each in form.parts)
        )
        for form in full.forms
    ]
    for empty in (gone, RecipeResult("toy", *bare), RecipeResult("toy")):
        if name in ("readings", "selection") and empty is gone:
            continue  # readings are of the part
        figure = picture(empty, RECIPE)
        assert figure.blank and "Nothing to show" in texts(figure)  # type: ignore[attr-defined]
        assert page.png(figure, dpi=30).startswith(b"\x89PNG")
    partly = result(lost={1: "diverged"}, regression=name == "toy_fit")
    said = texts(picture(partly, RECIPE))
    assert "nothing, corrected (1 of 3 runs diverged)" in said


@pytest.mark.parametrize("name", PICTURES)
def test_a_caption_says_data_model_seeds_and_the_flaw_of_the_printed_form(name: str) -> None:
    results = result(regression=name == "toy_fit")
    said = texts(PICTURES[name](results, RECIPE))
    part_of = results.forms[0].parts[0]
    for wanted in (
        RECIPE.title,
        part_of.data,
        part_of.model,
        "17,226 parameters",
        "1 seed",
        "3 seeds",
        "24 steps",
        FLAW.says,
    ):
        assert wanted in said, wanted
    corrected = texts(PICTURES[name](RecipeResult("toy", None, results.corrected), RECIPE))
    assert FLAW.says not in corrected  # which has not that flaw


@pytest.mark.parametrize("name", PICTURES)
def test_no_text_lies_on_another_or_leaves_the_page(name: str) -> None:
    figure = PICTURES[name](result(regression=name == "toy_fit"), RECIPE)
    page.settle(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    ticks = {id(text) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in axis.get_ticklabels()}
    found = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in ticks
    ]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in found]
    assert len(boxes) > 5
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (across > 1 and down > 1), (one, other)


# files


def test_draw_writes_what_the_recipe_names_and_nothing_that_is_blank(tmp_path: Path) -> None:
    recipe = replace(RECIPE, pictures=("norm_bars", "toy_fit", ANIMATION))
    (tmp_path / "toy-toy_fit.png").write_bytes(b"of an earlier course")
    written = draw(recipe, result(), tmp_path)
    assert [path.name for path in written] == ["toy-norm_bars.png", "toy-norm_bars.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    before = written[1].read_bytes()
    assert FLAW.says.split()[-1].encode() in before
    assert draw(recipe, result(), tmp_path)[1].read_bytes() == before
    draw(replace(recipe, flaws=()), result(), tmp_path)
    assert b"What is wrong" in before and b"What is wrong" not in written[1].read_bytes()
    with pytest.raises(UsageError, match=r"no picture is called 'norm_bar'.*norm_bars"):
        draw(replace(recipe, pictures=("norm_bar",)), result(), tmp_path)


def test_the_animation_is_a_small_gif_with_a_frame_a_snapshot(tmp_path: Path) -> None:
    results = result(regression=True)
    path = write_gif(results, tmp_path / "new" / "a.gif", RECIPE)
    with Image.open(path) as gif:
        assert gif.format == "GIF" and gif.n_frames == 6 and gif.info["loop"] == 0
        durations, frames = [], []
        for at in range(gif.n_frames):
            gif.seek(at)
            durations.append(gif.info["duration"])
            frames.append(np.asarray(gif.convert("RGB"), dtype=int))
    assert durations[-1] > durations[0] == durations[-2]
    assert all((one != other).any() for one, other in itertools.pairwise(frames))
    assert path.stat().st_size < 2_000_000
    assert write_gif(results, tmp_path / "b.gif", RECIPE).read_bytes() == path.read_bytes()


def test_a_frame_shows_the_function_and_the_error_of_its_epoch() -> None:
    results = result(regression=True, epochs=2600)
    shown = animation(results, RECIPE)
    assert shown.frames == 6
    shown.draw(3)
    first = results.forms[0].parts[0].runs[0]
    above, below = shown.figure.axes[0], shown.figure.axes[2]
    assert line(above, "network")[:, 1] == pytest.approx(first.snapshots[3].outputs)
    assert [1500, 1500] in [list(each.get_xdata()) for each in below.get_lines()]
    assert any(text.get_text() == f"epoch 1,500, error {first.history[1499]['val_error']:.2f}" for text in above.texts)


def test_an_animation_of_nothing_is_a_page_that_says_so() -> None:
    assert "Nothing to show" in texts(animation(result(), RECIPE).figure)


@pytest.mark.parametrize("name", files.names())
def test_every_recipe_names_pictures_that_there_are(name: str) -> None:
    assert files.recipe(name).pictures
    assert set(files.recipe(name).pictures) <= {*PICTURES, ANIMATION}


def test_the_recorder_keeps_what_the_network_computes_and_leaves_it_as_it_was() -> None:
    x = torch.linspace(0, 1, 8).unsqueeze(1)
    split = Split(x, 2 * x, (), torch.arange(8))
    splits = Splits(split, split, split, name="line", classes=(), shape=(1,), hash="", seed=0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))
    options: dict[str, Any] = {"task": "regression", "epochs": 5, "batch_size": 8, "learning_rate": 0.05}
    recorder = Recorder(x, every=2, model=model)
    watched = train(model, [], splits, on_epoch=recorder, **options)
    alone = train(model, [], splits, **options)
    assert [one.epoch for one in recorder.snapshots] == [0, 2, 4]
    assert all(torch.equal(a, b) for a, b in zip(watched.model.parameters(), alone.model.parameters(), strict=True))
    with torch.no_grad():
        assert recorder.snapshots[0].outputs == pytest.approx(model.eval()(x).flatten().tolist())
    four = train(model, [], splits, **{**options, "epochs": 4})
    with torch.no_grad():
        assert recorder.snapshots[-1].outputs == pytest.approx(four.model(x).flatten().tolist())
