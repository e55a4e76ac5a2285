"""The corruption curve of a study: by hand, drawn, and what is missing."""

import math

import numpy as np
import pytest

from robustreg.report import FIGURES
from robustreg.study import Comparison, Record
from robustreg.study.corruption import corruption_area, corruption_conditions, corruption_curve

RATES = {"true": 0.0, "random:0.5": 0.5, "random:1.0": 1.0}


def study(conditions=tuple(RATES), arms=("none", "l1:0.1"), seeds=2, lost=()):
    """Accuracy is .9 - .8 rate, plus .01 a seed and .05 for the second arm."""
    records = []
    for seed in range(seeds):
        for condition in conditions:
            for at, arm in enumerate(arms):
                status = "failed" if (arm, seed, condition) in lost else "ok"
                made = Record(f"{arm}{seed}{condition}", arm, seed, condition, status, split_hash=str(seed))
                if status == "ok":
                    rate = float(condition.rpartition(":")[2]) if ":" in condition else 0.0
                    made.measures = {"clean_accuracy": 0.9 - 0.8 * rate + 0.01 * seed + 0.05 * at}
                    made.details = {"train_images": 300 if rate == 1 else 1000}
                records.append(made)
    about = {
        "data": "digits", "model": "mlp", "seeds": list(range(seeds)), "label_conditions": list(conditions),
        "protocol": "quick", "headline_eps": 0.125, "norm": "linf", "eps": [0.0, 0.125], "attacks": ["pgd"],
    }  # fmt: skip
    return Comparison(about, list(arms), {"clean_accuracy": True}, records)


def test_the_curve_is_the_mean_over_seeds_by_rate_and_the_area_its_trapezoid():
    made = study()
    assert corruption_curve(made, "none") == pytest.approx({0.0: 0.905, 0.5: 0.505, 1.0: 0.105})
    assert corruption_area(made, "none") == pytest.approx(0.505)
    assert corruption_area(made, "l1:0.1") == pytest.approx(0.555)


def test_rates_are_in_order_and_the_mode_with_most_of_them_is_taken():
    made = study(("true", "permute:1.0", "random:0.8", "random:0.2"))
    assert corruption_conditions(made) == {0.0: "true", 0.2: "random:0.2", 0.8: "random:0.8"}
    assert list(corruption_conditions(made)) == [0.0, 0.2, 0.8]
    assert corruption_conditions(made, "permute") == {0.0: "true", 1.0: "permute:1.0"}
    assert corruption_area(made, "none", mode="permute") == pytest.approx(0.505)
    assert (
        corruption_conditions(study(("true",))) == {0.0: "true"} and corruption_area(study(("true",)), "none") is None
    )


def test_a_lost_run_is_left_out_of_the_mean_and_a_lost_rate_leaves_no_area():
    made = study(lost=[("none", 1, "random:0.5")])
    assert corruption_curve(made, "none") == pytest.approx({0.0: 0.905, 0.5: 0.5, 1.0: 0.105})
    gone = study(lost=[("none", seed, "random:0.5") for seed in (0, 1)])
    assert corruption_curve(gone, "none") == pytest.approx({0.0: 0.905, 1.0: 0.105})
    assert corruption_area(gone, "none") is None and corruption_area(gone, "l1:0.1") is not None


def panel(figure, name):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == name)


def words(figure):
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_the_figure_draws_the_curve_the_baseline_and_the_area():
    figure = FIGURES["corruption_curve"](study(seeds=3))
    axes = panel(figure, "l1:0.1")
    base, own = (line.get_xydata() for line in axes.get_lines())
    assert np.allclose(own, [[0, 96], [50, 56], [100, 16]])
    assert np.allclose(base, [[0, 91], [50, 51], [100, 11]])
    assert "area 56.0 %" in [text.get_text() for text in axes.texts]
    # 95 % t interval of three values .01 apart.
    band = axes.collections[1].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(96 + 4.302653 / math.sqrt(3), abs=1e-3)
    assert "100% on 300" in words(figure) and "95 % t interval" in words(figure)


def test_two_rates_make_no_curve_and_lost_runs_are_named():
    figure = FIGURES["corruption_curve"](study(("true", "random:1.0")))
    assert "three rates" in figure.axes[0].texts[0].get_text()
    figure = FIGURES["corruption_curve"](study(lost=[("none", seed, c) for seed in (0, 1) for c in RATES]))
    assert "Not shown: none (6 of 6 runs failed)." in words(figure)
    assert len(panel(figure, "l1:0.1").get_lines()[1].get_xydata()) == 3
    figure = FIGURES["corruption_curve"](study(lost=[("none", 1, "true")]))
    assert "1 of 6 runs failed" in words(figure)
