"""The report: tables, figures and files of a study made of known numbers, hostile names and lost runs."""

import csv
import errno
import html
import io
import itertools
import json
import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console
from scipy import stats

from robustreg import report
from robustreg.errors import DiskFullError, StoreError
from robustreg.report import FIGURES, page, palette, wording
from robustreg.report.series import pareto, spread
from robustreg.report.sheets import results_csv, summary_csv, to_csv
from robustreg.study import Comparison, Record

HOSTILE = [
    "$_$",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "[bold red]x[/]",
    "_under",
    "l1:$\\frac{$&é漢\x1b[31m",
]
GRID = (0.0, 0.0625, 0.125, 0.1875, 0.25, 0.3125)
MEASURES: dict[str, bool | None] = {
    "train_accuracy": None,
    "clean_accuracy": True,
    "random_label_accuracy": False,
    "memorized_fraction": False,
    "fgsm_accuracy": True,
    "robust_accuracy": True,
    "fgsm_curve": True,
    "robust_curve": True,
    "layer_norms": None,
}


def record(arm: str, at: int, seed: int, condition: str, *, status: str = "ok", examples: bool = True) -> Record:
    """A run whose numbers follow from the position of its arm and its seed."""
    rng = np.random.default_rng([at, seed, len(condition)])
    made = Record(f"{at}-{seed}-{condition}", arm, seed, condition, status, split_hash=f"split {seed}")
    if status != "ok":
        made.reason = f"{status} because of <&>"
        return made
    epochs = 6 if condition == "true" else 9
    made.history = [
        {"epoch": e, "train_accuracy": 1 - 0.8 * 0.6**e, "val_accuracy": 1 - 0.8 * 0.7**e}
        for e in range(epochs - at % 2)
    ]
    made.measures = {"train_accuracy": 0.99, "clean_accuracy": float(0.9 + 0.01 * rng.normal())}
    made.details = {"initial_norms": {"1.weight": 6.0 + seed, "1.bias": 0.5, "3.weight": 2.0}}
    if condition != "true":
        made.measures |= {"random_label_accuracy": 0.9, "memorized_fraction": float(rng.uniform(0.1, 0.9))}
        return made
    clean = made.measures["clean_accuracy"]
    worst = {
        repr(eps): float(clean * math.exp(-(8 - 0.5 * (at % 9)) * eps * (1 + 0.05 * rng.normal()))) for eps in GRID
    }
    weak = {key: min(1.0, 1.1 * value) for key, value in worst.items()}
    made.measures |= {
        "robust_curve": worst,
        "fgsm_curve": weak,
        "robust_accuracy": worst["0.125"],
        "fgsm_accuracy": weak["0.125"],
        "layer_norms": {"1.weight": 9.0 + at % 5 + seed, "1.bias": 0.7, "3.weight": 3.0 + 0.1 * seed},
    }
    levels = ("green", "amber", "red")
    made.trust = [
        {"flag": "zero_gradients", "level": levels[at % 3], "value": 0.1, "says": "Gradients are gone."},
        {"flag": "constant_predictor", "level": "green", "value": 0.1, "says": "It varies."},
    ]
    if examples:
        clean_images = rng.uniform(0.2, 0.8, (3, 1, 4, 4))
        moved = clean_images + 0.125 * rng.choice([-1, -0.5, 0.5, 1], clean_images.shape)
        made.details["examples"] = {
            "clean": clean_images.tolist(),
            "adversarial": moved.tolist(),
            "label": [0, 1, 2],
            "predicted_clean": [0, 1, 1],
            "predicted": [1, 1, 0],
        }
    return made


def study(
    arms: Sequence[str],
    seeds: int = 3,
    *,
    conditions: Sequence[str] = ("true", "random:1.0"),
    lost: Callable[[str, int, str], str] = lambda arm, seed, condition: "ok",
    protocol: str = "quick",
    data: str = "digits",
) -> Comparison:
    about = {
        "name": "digits-mlp",
        "data": data,
        "model": "mlp",
        "parameters": 17226,
        "seeds": list(range(seeds)),
        "epochs": 6,
        "label_conditions": list(conditions),
        "classes": ["cat", "dog", "wildlife $x$"],
        "eps": list(GRID),
        "headline_eps": 0.125,
        "norm": "linf",
        "attacks": ["pgd", "pgd_margin"],
        "protocol": protocol,
        "versions": {},
        "split_hashes": {},
    }
    records = [
        record(arm, at, seed, condition, status=lost(arm, seed, condition))
        for seed in range(seeds)
        for condition in conditions
        for at, arm in enumerate(arms)
    ]
    return Comparison(about, list(arms), MEASURES, records)


def conditions_for(name: str) -> tuple[str, ...]:
    """Label conditions with which a figure has something to show."""
    return ("true", "random:0.4", "random:1.0") if name == "corruption_curve" else ("true", "random:1.0")


def one_lost(arm: str, seed: int, condition: str) -> str:
    """Every run of one arm diverged, one run of another failed."""
    return "diverged" if arm == HOSTILE[0] else "failed" if arm == HOSTILE[1] and seed == 1 else "ok"


@pytest.fixture(scope="module")
def plain() -> Comparison:
    return study(["none", *(f"arm{i}:0.{i}" for i in range(1, 5))])


@pytest.fixture(scope="module")
def hostile() -> Comparison:
    return study(["none", *HOSTILE], lost=one_lost, data="folder:$HOME/<x>")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def lines(axes: matplotlib.axes.Axes, label: str) -> np.ndarray:
    return next(line for line in axes.get_lines() if line.get_label() == label).get_xydata()


def panel(figure: Figure, name: str) -> matplotlib.axes.Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == name)


# what can be drawn


@pytest.mark.parametrize("name", FIGURES)
def test_hostile_names_and_lost_runs_are_drawn_as_text(name: str) -> None:
    conditions = conditions_for(name)
    hostile = study(["none", *HOSTILE], conditions=conditions, lost=one_lost, data="folder:$HOME/<x>")
    root = ET.fromstring(page.svg(FIGURES[name](hostile)))
    said = " ".join("".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text"))
    assert not any(element.tag.endswith("script") for element in root.iter())
    assert "folder:$HOME/<x>" in said
    drawn = HOSTILE[1:] if name != "examples" else ["[bold red]x[/]"]  # the runs of the first are all lost
    for arm in drawn:
        assert wording.short(arm) in said, arm
    assert "\x1b" not in said
    runs = 3 * len(conditions)
    assert f"$_$ ({runs} of {runs} runs diverged)" in said.replace("\n", " ")


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("all lost", dict.fromkeys(FIGURES, "Nothing to show")),
        ("baseline lost", {"differences": "Nothing to show"}),
        ("one seed", {"differences": "no interval", "robust_curve": "none for one seed"}),
        ("two seeds", {"robust_curve": "minimum to maximum of 2 seeds"}),
        ("baseline only", {"differences": "the baseline is the only arm"}),
        (
            "no random labels",
            {
                "memorization": "no random labels",
                "differences": "No results: memorized fraction",
                "corruption_curve": "three rates",
            },
        ),
        ("no attacks", {"robust_curve": "Nothing to show", "clean_robust": "Nothing to show"}),
        ("bare records", dict.fromkeys(FIGURES, "Nothing to show")),
    ],
)
def test_what_is_missing_is_said_in_the_figure(name: str, what: str, says: dict[str, str]) -> None:
    arms = ["none", "l1:0.1"]
    if what == "all lost":
        made = study(arms, conditions=conditions_for(name), lost=lambda *run: "failed")
    elif what == "baseline lost":
        gone = lambda arm, *run: "diverged" if arm == "none" else "ok"  # noqa: E731
        made = study(arms, conditions=conditions_for(name), lost=gone)
    elif what == "no random labels":
        made = study(arms, conditions=["true"])
    else:
        seeds = {"one seed": 1, "two seeds": 2}.get(what, 3)
        made = study(arms[:1] if what == "baseline only" else arms, seeds, conditions=conditions_for(name))
    for run in made.records:
        if what == "no attacks":
            run.measures = {k: v for k, v in run.measures.items() if not k.startswith(("robust", "fgsm"))}
        if what == "bare records":
            run.measures, run.details, run.history, run.trust = {}, {}, [], []
    figure = FIGURES[name](made)
    assert page.png(figure, dpi=20).startswith(b"\x89PNG")
    assert says.get(name, "") in " ".join(texts(figure)).replace("\n", " ")


def test_numbers_that_are_not_finite_are_left_out_of_a_curve(plain: Comparison) -> None:
    made = study(plain.arms)
    for run in made.records:
        if run.seed == 0 and "robust_curve" in run.measures:
            run.measures["robust_curve"] = dict.fromkeys(run.measures["robust_curve"], math.nan)
    points = lines(panel(FIGURES["robust_curve"](made), "arm1:0.1"), "worst case")
    kept = [run.measures["robust_curve"] for run in made.of("arm1:0.1") if run.label_condition == "true"][1:]
    assert points[:, 1] == pytest.approx([100 * np.mean([curve[repr(eps)] for curve in kept]) for eps in GRID])


def bare_text(figure: Figure) -> list[tuple[str, matplotlib.transforms.Bbox]]:
    """Every piece of text that is seen, with where it is."""
    page.settle(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    ticks = {id(t) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for t in [*axis.get_ticklabels()]}
    shown = {id(t) for t in found if id(t) not in ticks}
    for axes in figure.axes:
        for axis, interval in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = sorted(interval)
            shown |= {
                id(label)
                for tick, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=False)
                if low <= tick <= high
            }
    return [(t.get_text(), t.get_window_extent(renderer)) for t in found if id(t) in shown]


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("number", [1, 11])
def test_no_text_lies_on_another_or_leaves_the_page(name: str, number: int) -> None:
    arms = ["none", *(f"a_rather_long_name_{i}:0.{i}+l2:{i}" for i in range(1, number))]
    figure = FIGURES[name](study(arms, conditions=conditions_for(name)))
    found = bare_text(figure)
    assert len(found) > 3 or "Nothing to show" in found[-1][0] + found[0][0]
    sheet = figure.bbox
    for text, box in found:
        assert sheet.x0 <= box.x0 and box.x1 <= sheet.x1 and sheet.y0 <= box.y0 and box.y1 <= sheet.y1, text
    for (one, a), (other, b) in itertools.combinations(found, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (across > 1 and down > 1), (one, other)


# that what is drawn is true


def test_robust_curve_draws_the_mean_and_the_t_interval(plain: Comparison) -> None:
    figure = FIGURES["robust_curve"](plain)
    for arm, measure, label in (("arm2:0.2", "robust_curve", "worst case"), ("arm3:0.3", "fgsm_curve", "FGSM (weak)")):
        axes = panel(figure, arm)
        truth = np.array(
            [
                [100 * run.measures[measure][repr(eps)] for eps in GRID]
                for run in plain.of(arm)
                if run.label_condition == "true"
            ]
        )
        points = lines(axes, label)
        assert points[:, 0] == pytest.approx(GRID)
        assert points[:, 1] == pytest.approx(truth.mean(0))
        low, high = stats.t.interval(0.95, 2, truth.mean(0), stats.sem(truth, axis=0))
        corners = {(round(x, 9), round(y, 6)) for band in axes.collections for x, y in band.get_paths()[0].vertices}
        for eps, bottom, top in zip(GRID, np.clip(low, 0, 100), np.clip(high, 0, 100), strict=True):
            assert {(round(eps, 9), round(bottom, 6)), (round(eps, 9), round(top, 6))} <= corners


def test_the_forest_plot_shows_the_paired_differences_with_their_words(plain: Comparison) -> None:
    figure = FIGURES["differences"](plain)
    axes = panel(figure, "clean accuracy")
    markers = [line for line in axes.get_lines() if len(line.get_xdata()) == 1]
    for marker, arm in zip(markers, plain.arms[1:], strict=True):
        mine, base = (plain.values(each, "clean_accuracy", "true") for each in (arm, "none"))
        d = np.array([100 * (mine[seed] - base[seed]) for seed in base])
        assert marker.get_xdata()[0] == pytest.approx(d.mean())
        assert marker.get_marker() == palette.WORDS[plain.differences[arm]["clean_accuracy"]["word"]].marker
        low, high = stats.t.interval(0.95, len(d) - 1, d.mean(), stats.sem(d))
        assert f"{d.mean():+.1f} [{low:+.1f}, {high:+.1f}]" in texts(figure)
    assert "points (less is better)" in texts(figure)  # memorization


def test_scatters_put_arms_where_their_means_are(plain: Comparison) -> None:
    clean, worst, memorized = (
        {arm: 100 * np.mean(list(plain.values(arm, m, c).values())) for arm in plain.arms}
        for m, c in (("clean_accuracy", "true"), ("robust_accuracy", "true"), ("memorized_fraction", "random:1.0"))
    )
    (plane,) = FIGURES["clean_robust"](plain).axes
    left, right = FIGURES["memorization"](plain).axes
    for axes, x, y in ((plane, worst, clean), (left, memorized, worst), (right, memorized, clean)):
        dots = [line for line in axes.get_lines() if line.get_markersize() == 8 and len(line.get_xdata()) == 1]
        drawn = {line.get_marker(): (line.get_xdata()[0], line.get_ydata()[0]) for line in dots}
        for at, arm in enumerate(plain.arms):
            assert drawn[palette.look(at).marker] == pytest.approx((x[arm], y[arm]))


def test_the_pareto_front_is_drawn_through_the_arms_on_it(plain: Comparison) -> None:
    (plane,) = FIGURES["clean_robust"](plain).axes
    (steps,) = (line for line in plane.get_lines() if line.get_drawstyle() == "steps-pre")
    dots = [line for line in plane.get_lines() if line.get_markersize() == 8 and len(line.get_xdata()) == 1]
    points = {str(at): (dot.get_xdata()[0], dot.get_ydata()[0]) for at, dot in enumerate(dots)}
    front = np.array([points[name] for name in pareto(points)])
    assert steps.get_xydata()[1:-1] == pytest.approx(front)
    (left, _), (bottom, _) = plane.get_xlim(), plane.get_ylim()
    assert steps.get_xydata()[[0, -1]] == pytest.approx(np.array([[left, front[0, 1]], [front[-1, 0], bottom]]))


def test_intervals_are_cut_off_where_no_difference_can_be(hostile: Comparison) -> None:
    axes = panel(FIGURES["differences"](hostile), "memorized wrong labels")
    bars = [line.get_xdata() for line in axes.get_lines() if len(set(line.get_ydata())) == 1]
    assert min(map(min, bars)) == -100 and max(map(max, bars)) == 100  # of [-329.1, +276.9]


def test_training_curves_draw_the_mean_for_as_long_as_every_seed_goes_on() -> None:
    made = study(["none", "l1:1"], 2)
    short = next(run for run in made.of("l1:1") if run.seed == 1 and run.label_condition == "true")
    short.history = [{"epoch": e, "train_accuracy": 0.5, "val_accuracy": 0.25} for e in range(3)]
    other = next(run for run in made.of("l1:1") if run.seed == 0 and run.label_condition == "true").history
    points = lines(panel(FIGURES["training_curves"](made), "l1:1"), "training")
    assert points[:, 0].tolist() == [1, 2, 3]
    assert points[:, 1] == pytest.approx([50 * (0.5 + other[e]["train_accuracy"]) for e in range(3)])


def test_weight_norms_show_each_weight_tensor_before_and_after(plain: Comparison) -> None:
    figure = FIGURES["weight_norms"](plain)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["1.weight", "3.weight"]  # and no bias
    offsets = np.concatenate([dots.get_offsets() for dots in figure.axes[0].collections if len(dots.get_offsets()) > 1])
    for at in range(len(plain.arms)):
        assert sorted(x for x, y in offsets if y == at) == pytest.approx([7.0, 10.0 + at % 5])


def test_examples_amplify_the_largest_change_to_black_or_white(plain: Comparison) -> None:
    figure = FIGURES["examples"](plain)
    clean, change, moved = (np.asarray(image.get_array()) for image in figure.axes[0].images)
    assert change == pytest.approx(0.5 + 4 * (moved - clean))  # 0.5 / 0.125
    assert set(np.round(change, 6).ravel()) == {0.0, 0.25, 0.75, 1.0}
    assert {"✓ says cat", "✗ says dog"} <= {text.get_text() for text in figure.axes[0].texts}
    assert "label wildlife $x$" in texts(figure)


def test_spread_is_the_t_interval_or_says_less() -> None:
    values = [0.2, 0.5, 0.9, 0.4]
    found = spread([*values, math.nan, math.inf])
    assert found is not None and found.n == 4
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 3, np.mean(values), stats.sem(values)))
    two, one = spread([0.2, 0.4]), spread([0.2])
    assert two is not None and (two.low, two.high, two.n) == (0.2, 0.4, 2)
    assert one is not None and (one.low, one.high, one.n) == (0.2, 0.2, 1)
    assert spread([]) is None


def test_pareto_front_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = {str(i): tuple(map(float, rng.integers(0, 6, 2))) for i in range(8)}
        front = pareto(points)
        for name, (x, y) in points.items():
            beaten = any((u >= x and v > y) or (u > x and v >= y) for u, v in points.values())
            assert (name in front) == (not beaten)
        assert [points[name][0] for name in front] == sorted(points[name][0] for name in front)


# that it is the same for everyone


@pytest.mark.parametrize("name", FIGURES)
def test_svg_is_byte_identical_whatever_the_users_matplotlib_is_set_to(name: str, plain: Comparison) -> None:
    first = page.svg(FIGURES[name](plain))
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"svg.fonttype": "path", "font.size": 20, "figure.dpi": 50, "text.parse_math": True}):
        changed = dict(matplotlib.rcParams)
        again = FIGURES[name](plain)
        assert page.svg(again) == first
        assert dict(matplotlib.rcParams) == changed
    assert dict(matplotlib.rcParams) == before
    assert b"<text" in first and b"dc:date" not in first


def test_drawing_again_and_again_gives_the_same_bytes(plain: Comparison) -> None:
    # The layout is solved in an order that memory addresses decide, so its last digits are not the same each time.
    assert len({page.svg(FIGURES["examples"](plain)) for _ in range(4)}) == 1


def test_another_process_draws_the_same_bytes_without_pyplot(plain: Comparison) -> None:
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('made', {__file__!r})\n"
        "made = importlib.util.module_from_spec(spec); spec.loader.exec_module(made)\n"
        "comparison = made.study(['none', *(f'arm{i}:0.{i}' for i in range(1, 5))])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "sys.stdout.buffer.write(made.page.svg(made.FIGURES['clean_robust'](comparison)))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert done.stdout == page.svg(FIGURES["clean_robust"](plain))


def test_importing_the_room_loads_nothing_heavy() -> None:
    heavy = ("matplotlib", "numpy", "scipy", "torch")
    code = f"import sys, robustreg.report; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_notebook_shows_a_page(plain: Comparison) -> None:
    figure = FIGURES["robust_curve"](plain)
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_colours_stay_apart_for_colour_blind_eyes() -> None:
    # Machado, Oliveira and Fernandes, A physiologically-based model for simulation of color vision deficiency, 2009.
    eyes = [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def lab(color: str, eye: np.ndarray) -> np.ndarray:
        srgb = np.array(matplotlib.colors.to_rgb(color))
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        xyz = to_xyz @ np.clip(np.asarray(eye) @ linear, 0, 1) / [0.9505, 1.0, 1.089]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for eye in eyes:
        colors = [look.color for look in palette.WORDS.values()]
        for one, other in itertools.combinations(colors, 2):
            assert np.linalg.norm(lab(one, eye) - lab(other, eye)) > 10, (one, other)
    looks = [palette.look(at) for at in range(79)]
    assert len({(each.color, each.marker) for each in looks}) == 79
    assert len({palette.look(at).marker for at in range(14)}) == 14  # so that print without colour tells them apart
    assert len({look.marker for look in palette.WORDS.values()}) == len(palette.WORDS)


# the table


def test_the_table_holds_means_spreads_and_differences(plain: Comparison) -> None:
    text = report.table_text(plain, 120)
    for arm in plain.arms:
        for measure, condition in (("clean_accuracy", "true"), ("memorized_fraction", "random:1.0")):
            found = 100 * np.array(list(plain.values(arm, measure, condition).values()))
            assert f"{found.mean():.1f} ± {found.std(ddof=1):.1f}" in text
        for measure in ("clean_accuracy", "memorized_fraction", "robust_accuracy"):
            if arm != "none":
                row = plain.differences[arm][measure]
                points = [f"{100 * row[key]:+.1f}" for key in ("difference", "low", "high")]
                assert f"{points[0]} [{points[1]}, {points[2]}]" in text
    rows = [line for line in text.splitlines() if line.lstrip().startswith(("none ", "arm1:"))]
    assert rows[0].lstrip().startswith("none ")
    words = ("better", "worse", "equivalent", "cannot tell")
    table = text.split("In each cell")[0]
    assert sum(table.count(word) for word in words) == 3 * (len(plain.arms) - 1)  # FGSM never has one
    assert "preliminary" in text and "pixel units" in text and "random:1.0" in text
    assert "preliminary" not in report.table_text(study(["none", "l1:1"], protocol="standard"))


@pytest.mark.parametrize("width", [40, 60, 80, 105, 120, 200])
def test_the_table_fits_its_width_and_takes_names_as_text(width: int, hostile: Comparison) -> None:
    text = report.table_text(hostile, width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    if width >= 120:
        assert "[bold red]x[/]" in text and "$_$" in text
        assert text.count("6 of 6 runs") == text.count("2 of 6 runs") == 1
    if width >= 200:
        assert "6 of 6 runs diverged" in text and "2 of 6 runs failed" in text and "red: zero gradients" in text


def test_at_80_columns_every_number_is_whole(hostile: Comparison) -> None:
    text = report.table_text(hostile, 80)
    for arm in HOSTILE[1:]:
        for measure in ("clean_accuracy", "memorized_fraction", "robust_accuracy"):
            row = hostile.differences[arm][measure]
            assert f"[{100 * row['low']:+.1f},{100 * row['high']:+.1f}]" in text


def test_a_printed_table_has_colours_where_the_console_has(plain: Comparison) -> None:
    for color in ("standard", None):
        console = Console(file=io.StringIO(), color_system=color, force_terminal=color is not None, width=120)
        report.print_table(plain, console)
        assert ("\x1b[" in console.file.getvalue()) == (color is not None)  # type: ignore[attr-defined]


def test_runs_on_random_labels_do_not_stand_in_for_lost_runs_on_true_labels() -> None:
    gone = study(["none", "l1:1"], lost=lambda arm, seed, kind: "failed" if (arm, kind) == ("l1:1", "true") else "ok")
    row = next(line for line in report.table_text(gone).splitlines() if line.lstrip().startswith("l1:1"))
    assert row.split()[1] == "–"  # its models trained on noise do have a clean accuracy


def test_one_seed_has_no_spread_and_no_interval() -> None:
    text = report.table_text(study(["none", "l1:1"], 1))
    assert "1 seed only" in text and "±" not in text.split("In each cell")[0]


# files


def strict(text: str) -> object:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_is_strict_and_otherwise_the_same(plain: Comparison) -> None:
    assert strict(report.to_json(plain)) == json.loads(json.dumps(plain.to_dict()))
    odd = {
        "a": math.nan,
        "b": [math.inf, -math.inf, 1.5, True, None, "NaN"],
        "c": np.float32(0.5),
        "d": np.arange(2),
        3: (),
    }
    assert strict(report.to_json(odd)) == {
        "a": None,
        "b": [None, None, 1.5, True, None, "NaN"],
        "c": 0.5,
        "d": [0, 1],
        "3": [],
    }


def test_no_cell_of_a_csv_can_be_run_as_a_formula(hostile: Comparison) -> None:
    rows = list(csv.reader(io.StringIO(results_csv(hostile))))
    assert len(rows) == 1 + len(hostile.records)
    for table in (rows, list(csv.reader(io.StringIO(summary_csv(hostile))))):
        for cell in itertools.chain(*table):
            if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
                float(cell)  # a negative number is a number
        assert "'=cmd|' /C calc'!A0" in {row[0] for row in table}
    made = to_csv(["=a", "b"], [["@x", -0.5], ["\tx", None], ["+1", math.nan], ["a=b", 3]])
    assert list(csv.reader(io.StringIO(made))) == [
        ["'=a", "b"],
        ["'@x", "-0.5"],
        ["'\tx", ""],
        ["'+1", ""],
        ["a=b", "3"],
    ]


def test_the_summary_sheet_holds_what_the_comparison_says(plain: Comparison) -> None:
    rows = {(row["arm"], row["measure"]): row for row in csv.DictReader(io.StringIO(summary_csv(plain)))}
    row, truth = rows["arm1:0.1", "robust_accuracy"], plain.differences["arm1:0.1"]["robust_accuracy"]
    values = list(plain.values("arm1:0.1", "robust_accuracy", "true").values())
    assert float(row["mean"]) == pytest.approx(np.mean(values)) and float(row["sd"]) == pytest.approx(
        np.std(values, ddof=1)
    )
    assert (float(row["d_low"]), float(row["d_high"]), row["word"]) == (truth["low"], truth["high"], truth["word"])
    assert row["p"] == "" and row["n"] == "3"  # the quick protocol has no p-values
    assert rows["none", "clean_accuracy"]["difference"] == ""


def test_a_report_is_whole(plain: Comparison, tmp_path) -> None:  # type: ignore[no-untyped-def]
    written = report.write_report(plain, tmp_path / "new" / "folder")
    assert written.problems == []
    root = tmp_path / "new" / "folder"
    expected = {"results.json", "results.csv", "summary.csv", "verdict.txt"}
    shown = FIGURES.keys() - {"corruption_curve"}  # which takes three label conditions
    expected |= {f"figures/{name}.{ending}" for name in shown for ending in ("svg", "png")}
    assert {path.relative_to(root).as_posix() for path in written.paths} == expected
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == expected
    verdict = (root / "verdict.txt").read_text(encoding="utf-8")
    assert report.table_text(plain) in verdict and all(sentence in verdict for sentence in plain.verdict())
    assert (root / "figures" / "examples.png").read_bytes().startswith(b"\x89PNG")
    assert (root / "figures" / "differences.svg").read_bytes() == page.svg(FIGURES["differences"](plain))


def test_hostile_names_survive_a_report(hostile: Comparison, tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = study(["none", "\ud800lone", *HOSTILE], lost=one_lost)
    assert report.write_report(made, tmp_path, figures=False).problems == []
    arms = strict((tmp_path / "results.json").read_text(encoding="utf-8"))["arms"]  # type: ignore[index]
    assert [each["arm"] for each in arms] == made.arms


def test_a_figure_that_fails_loses_nothing_else(plain: Comparison, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def broken(comparison: Comparison) -> Figure:
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(FIGURES, "memorization", broken)
    for name in set(FIGURES) - {"memorization", "weight_norms"}:
        monkeypatch.delitem(FIGURES, name)
    written = report.write_report(plain, tmp_path)
    assert [path.stem for path in written.paths[4:]] == ["weight_norms", "weight_norms"]
    assert written.problems == ["The figure memorization could not be drawn: ZeroDivisionError: oh."]


def test_a_full_disk_and_a_folder_that_is_a_file_are_said(plain: Comparison, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match="taken"):
        report.write_report(plain, tmp_path / "taken", figures=False)
    report.write_report(plain, tmp_path, figures=False)
    before = (tmp_path / "results.json").read_bytes()

    def full(*paths: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.mkdir", lambda *args, **options: full())
        with pytest.raises(DiskFullError, match="new"):
            report.write_report(plain, tmp_path / "new", figures=False)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskFullError, match=r"results\.json"):
        report.write_report(plain, tmp_path, figures=False)
    assert (tmp_path / "results.json").read_bytes() == before
    assert not list(tmp_path.rglob("*.partial"))


# words


@pytest.mark.parametrize(
    ("eps", "text"),
    [
        (0.125, "2/16 = 0.125"),
        (8 / 255, "8/255 = 0.0314"),
        (0.1, "0.1"),
        (0.25, "0.25"),
        (0.0, "0"),
        (0.123456, "0.123"),
    ],
)
def test_eps_is_written_as_people_say_it(eps: float, text: str) -> None:
    assert wording.eps_text(eps) == text


def test_names_are_shortened_in_the_middle_and_made_printable() -> None:
    assert wording.short("l1:0.001", 10) == "l1:0.001"
    for most in range(3, 40):
        assert len(wording.short("abcdefghijklmnopqrstuvwxyz0123456789", most)) == min(most, 36)
    assert wording.short("aaaaaaaabbbbbbbb", 7) == "aaa…bbb"
    assert wording.plain("a\nb\x1b[31m\u202ec\ud800") == "a�b�[31m�c�"
    assert html.escape(wording.plain("<b>")) == "&lt;b&gt;"


def test_a_figure_with_nothing_to_show_is_left_out(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = study(["none"])
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "differences.svg").write_text("of an earlier report")
    written = report.write_report(made, tmp_path)
    names = {path.stem for path in written.paths}
    assert "differences" not in names and "robust_curve" in names and written.problems == []
    assert not (tmp_path / "figures" / "differences.svg").exists()
