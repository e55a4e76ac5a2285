"""The memorization-robustness plane: points where the means are, names that lie on nothing, kinds told apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from scipy import stats

from robustreg import regularizer
from robustreg.plugins import discover
from robustreg.report import FIGURES, page
from robustreg.report.figures.memorization_robustness import DOUBLE, SINGLE, memorization_robustness
from robustreg.report.kinds import kinds, look_of
from robustreg.report.labels import place
from robustreg.report.naming import write_names
from robustreg.report.palette import BASELINE, KINDS
from robustreg.report.scatter import looks_of
from robustreg.study import Comparison, Record

MEASURES = {"memorized_fraction": False, "robust_accuracy": True}
NAMES = ("l1", "dropout", "shift", "label_smoothing", "fgsm_training", "cosine")


def study(
    points: Sequence[tuple[float, float]], seeds: int = 3, red: Sequence[int] = (), spread: float = 0.02
) -> Comparison:
    """Arms whose means over seeds are `points`, memorized and robust; the first is the baseline."""
    about = {
        "data": "digits",
        "model": "mlp",
        "seeds": list(range(seeds)),
        "label_conditions": ["true", "random:1.0"],
        "headline_eps": 0.125,
        "norm": "linf",
        "protocol": "quick",
        "attacks": ["pgd"],
    }
    names = [f"{NAMES[at % len(NAMES)]}:{at / 1000}" for at in range(len(points))]
    arms = ["none", *names[1:]]
    offsets = spread * (np.arange(seeds) - (seeds - 1) / 2)
    records = []
    for at, (arm, point) in enumerate(zip(arms, points, strict=True)):
        for condition, measure, mean in zip(("random:1.0", "true"), MEASURES, point, strict=True):
            for seed in range(seeds):
                made = Record(f"{at}-{seed}-{condition}", arm, seed, condition)
                made.regularizers = [{"name": arm.partition(":")[0]}]
                made.measures = {measure: float(mean + offsets[seed])}
                made.trust = [
                    {"flag": "zero_gradients", "level": "red" if at in red else "green", "value": 0, "says": ""}
                ]
                records.append(made)
    return Comparison(about, arms, dict(MEASURES), records)


def scattered(number: int, seed: int = 0) -> list[tuple[float, float]]:
    """Points as a catalogue has them: most of them crowded around the baseline."""
    rng = np.random.default_rng(seed)
    crowd = rng.normal((0.9, 0.27), (0.07, 0.05), (number // 2, 2))
    others = rng.uniform((0.1, 0.02), (1.0, 0.75), (number - number // 2, 2))
    return [(float(x), float(y)) for x, y in np.clip(np.concatenate([crowd, others]), 0.03, 0.97)]


def markers(figure: Figure, comparison: Comparison) -> dict[str, object]:
    return {line.get_label(): line for line in figure.axes[0].get_lines() if line.get_label() in comparison.arms}


def names_on(figure: Figure) -> list[Annotation]:
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation) and text.get_text()]


def test_every_arm_is_where_its_means_are_with_its_t_interval() -> None:
    points = [(0.9, 0.2), (0.5, 0.4), (0.2, 0.7), (0.995, 0.3)]
    comparison = study(points)
    figure = FIGURES["memorization_robustness"](comparison)
    found = markers(figure, comparison)
    assert list(found) == comparison.arms
    segments = {tuple(np.round(line.get_xydata().ravel(), 6)) for line in figure.axes[0].get_lines()}
    half = stats.t.ppf(0.975, 2) * 0.02 / math.sqrt(3)
    for arm, (x, y) in zip(comparison.arms, points, strict=True):
        assert found[arm].get_xydata()[0] == pytest.approx((100 * x, 100 * y))  # type: ignore[attr-defined]
        left, right = 100 * max(0, x - half), 100 * min(1, x + half)
        assert tuple(np.round([left, 100 * y, right, 100 * y], 6)) in segments
        assert tuple(np.round([100 * x, 100 * (y - half), 100 * x, 100 * (y + half)], 6)) in segments


def test_the_baseline_is_marked_and_an_arm_with_a_red_flag_is_hollow() -> None:
    comparison = study([(0.9, 0.2), (0.5, 0.4), (0.2, 0.7)], red=[2])
    figure = memorization_robustness(comparison)
    found = markers(figure, comparison)
    base, plain, red = (found[arm] for arm in comparison.arms)
    assert base.get_markerfacecolor() == BASELINE.color  # type: ignore[attr-defined]
    assert base.get_markersize() > plain.get_markersize()  # type: ignore[attr-defined]
    assert red.get_markerfacecolor() == "white" != plain.get_markerfacecolor()  # type: ignore[attr-defined]
    assert [text.get_text() for text in names_on(figure) if text.get_weight() == "bold"] == ["none"]
    levels = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == ":"]
    assert {tuple(line.get_xdata()) for line in levels} >= {(90.0, 90.0)}


def test_the_front_is_of_the_arms_that_no_trusted_arm_beats_in_both() -> None:
    for seed in range(5):
        points = scattered(12, seed)
        comparison = study(points, red=[3, 7])
        figure = memorization_robustness(comparison)
        (steps,) = (line for line in figure.axes[0].get_lines() if line.get_drawstyle() == "steps-post")
        trusted = [point for at, point in enumerate(points) if at not in (3, 7)]
        best = [
            (x, y)
            for x, y in trusted
            if not any((u <= x and v > y) or (u < x and v >= y) for u, v in trusted)
        ]  # fmt: skip
        assert steps.get_xydata()[1:-1] == pytest.approx(100 * np.array(sorted(best)))


@pytest.mark.parametrize(("number", "seed"), [(45, 0), (45, 1), (20, 2)])
def test_no_name_lies_on_another_nor_on_a_marker_nor_leaves_the_panel(number: int, seed: int) -> None:
    comparison = study(scattered(number, seed))
    figure = memorization_robustness(comparison)
    check_names(figure, comparison)
    assert [text.get_text() for text in names_on(figure)] == comparison.arms  # names, not numbers


def check_names(figure: Figure, comparison: Comparison) -> None:
    page.settle(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in names_on(figure)]
    axes = figure.axes[0]
    frame = axes.get_window_extent(renderer)
    for box in boxes:
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
    for a, b in itertools.combinations(boxes, 2):
        assert min(a.x1, b.x1) <= max(a.x0, b.x0) or min(a.y1, b.y1) <= max(a.y0, b.y0)
    for line in markers(figure, comparison).values():
        x, y = axes.transData.transform(line.get_xydata()[0])  # type: ignore[attr-defined]
        assert not any(box.x0 < x < box.x1 and box.y0 < y < box.y1 for box in boxes)


def test_a_name_far_from_its_marker_is_tied_to_it() -> None:
    comparison = study([(0.5, 0.5)] * 24)  # all in one place
    figure = memorization_robustness(comparison)
    ends = [line.get_xydata() for line in figure.axes[0].get_lines() if line.get_linewidth() == 0.5]
    assert ends and all(end[0] == pytest.approx((50, 50)) for end in ends)


def test_a_single_column_has_numbers_and_a_key_that_names_every_arm() -> None:
    comparison = study(scattered(45))
    figure = memorization_robustness(comparison, width=SINGLE)
    assert figure.get_size_inches()[0] == SINGLE < DOUBLE
    assert [text.get_text() for text in names_on(figure)] == [str(at + 1) for at in range(45)]
    said = [text.get_text() for text in figure.axes[1].texts]
    assert said[::2] == [str(at + 1) for at in range(45)] and said[1::2] == comparison.arms
    page.settle(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[1].texts]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    for a, b in itertools.combinations(boxes, 2):
        assert min(a.x1, b.x1) - max(a.x0, b.x0) < 1 or min(a.y1, b.y1) - max(a.y0, b.y0) < 1


def test_where_names_have_no_room_there_are_numbers() -> None:
    comparison = study(scattered(45))
    said = [text.get_text() for text in names_on(memorization_robustness(comparison, width=3.7))]
    assert said == [str(at + 1) for at in range(45)]


def test_names_without_room_are_not_written_unless_they_must_be() -> None:
    figure = Figure(figsize=(1, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    points, names = [(0.5, 0.5)] * 30, [f"a name {at}" for at in range(30)]
    assert not write_names(axes, points, names)
    assert not axes.texts and not axes.get_lines()
    assert write_names(axes, points, names, always=True)
    assert [text.get_text() for text in axes.texts] == names


@pytest.mark.parametrize("width", [SINGLE, DOUBLE])
def test_the_legend_names_the_kinds_that_occur_and_stays_between_the_texts_and_the_panel(width: float) -> None:
    comparison = study(scattered(20), red=[4])
    figure = memorization_robustness(comparison, width=width)
    page.settle(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    (legend,) = figure.legends
    used = {*kinds(comparison).values(), "red flag", "Pareto front"}
    assert {text.get_text() for text in legend.get_texts()} == used
    box, panel = legend.get_window_extent(renderer), figure.axes[0].get_tightbbox(renderer)
    about = figure.texts[1].get_window_extent(renderer)
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    assert panel.y1 < box.y0 and box.y1 < about.y0


@pytest.mark.parametrize("number", [10, 45])
def test_an_arm_has_the_colour_of_its_kind_in_every_scatter(number: int) -> None:
    comparison = study(scattered(number))
    kind = kinds(comparison)
    looks = looks_of(comparison)
    drawn = markers(memorization_robustness(comparison), comparison)
    for arm in comparison.arms:
        assert looks[arm].color == look_of(kind[arm]).color == drawn[arm].get_markerfacecolor()  # type: ignore[attr-defined]
    assert len(set(looks.values())) == number  # no two arms look alike
    if number <= 14:
        assert len({look.marker for look in looks.values()}) == number  # not even without colour


def test_the_same_study_gives_the_same_bytes() -> None:
    comparison = study(scattered(30))
    assert page.svg(memorization_robustness(comparison)) == page.svg(memorization_robustness(comparison))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(5, 195), st.floats(5, 145)), min_size=1, max_size=14), st.integers(10, 60))
def test_places_said_to_be_clear_are_clear(anchors: list[tuple[float, float]], width: int) -> None:
    found = place(anchors, [(width, 8)] * len(anchors), (0, 0, 200, 150), radius=4)
    boxes = [each.box for each in found]
    for at, each in enumerate(found):
        left, bottom, right, top = each.box
        assert (right - left, top - bottom) == pytest.approx((width, 8))
        taken = [box for other, box in enumerate(boxes) if other != at]
        taken += [(x - 4, y - 4, x + 4, y + 4) for other, (x, y) in enumerate(anchors) if other != at]
        hit = any(left < x1 and x0 < right and bottom < y1 and y0 < top for x0, y0, x1, y1 in taken)
        inside = left >= 0 and bottom >= 0 and right <= 200 and top <= 150
        assert each.clear == (inside and not hit)


def test_a_label_alone_stands_right_beside_its_marker() -> None:
    (only,) = place([(100.0, 75.0)], [(40.0, 8.0)], (0, 0, 200, 150))
    assert only.clear and only.distance <= 3 and only.box[0] > 100
    assert place([], [], (0, 0, 1, 1)) == []


def test_every_built_in_regularizer_says_its_kind_and_each_kind_has_a_look() -> None:
    offered = discover([]).offers["regularizers"]
    assert {one.kind for name, one in offered.items() if name != "none"} == set(regularizer.KINDS)
    assert {*regularizer.KINDS, "several kinds", "other"} == set(KINDS)


def test_combinations_and_arms_of_nobodys_have_a_kind() -> None:
    comparison = study([(0.5, 0.5)] * 4)
    for record in comparison.records:
        at = comparison.arms.index(record.arm)
        record.regularizers = [
            [{"name": "none"}],
            [{"name": "l1"}, {"name": "l2"}],
            [{"name": "l1"}, {"name": "dropout"}],
            [{"name": "mine"}],
        ][at]
    assert list(kinds(comparison).values()) == ["baseline", "weights", "several kinds", "other"]


def test_kinds_are_told_apart_in_print_without_colour() -> None:
    # Each marker is drawn in its own grey; what is left must differ in shape or in lightness.
    def grey(kind: str) -> np.ndarray:
        look = look_of(kind)
        figure = Figure(figsize=(0.4, 0.4), dpi=100)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.plot(0, 0, look.marker, color=look.color, ms=20, mew=0)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3] @ np.array([0.299, 0.587, 0.114])

    drawn = {kind: grey(kind) for kind in ("baseline", *KINDS)}
    for one, other in itertools.combinations(drawn, 2):
        differ = np.abs(drawn[one] - drawn[other]) > 40
        inked = (drawn[one] < 250) | (drawn[other] < 250)
        assert differ.sum() > 0.15 * inked.sum(), (one, other)
    assert len({look_of(kind).marker for kind in drawn}) == len({look_of(kind).color for kind in drawn}) == len(drawn)


def test_kinds_are_told_apart_by_colour_blind_eyes() -> None:
    # Machado, Oliveira and Fernandes, A physiologically-based model for simulation of color vision deficiency, 2009.
    eyes = [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def lab(color: str, eye: object) -> np.ndarray:
        srgb = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        xyz = to_xyz @ np.clip(np.asarray(eye) @ linear, 0, 1) / [0.9505, 1.0, 1.089]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for eye in eyes:
        for one, other in itertools.combinations([BASELINE, *KINDS.values()], 2):
            apart = np.linalg.norm(lab(one.color, eye) - lab(other.color, eye))
            assert apart > 15, (one, other)
        for look in (BASELINE, *KINDS.values()):
            assert np.linalg.norm(lab(look.color, eye) - lab("#ffffff", eye)) > 25
