"""Calibration: against hand-computed bins, scikit-learn, SciPy, and populations whose truth is known."""

import math

import pytest
import torch
from scipy import optimize
from sklearn import metrics
from torch import nn

from robustreg.data import Split, Splits
from robustreg.measures import calibration, evaluate, expected_calibration_error
from robustreg.measures.calibration import adaptive_calibration_error, brier, calibration_interval, nll
from robustreg.measures.temperature import fit_temperature
from robustreg.noise import Rng


def test_calibration_error_of_a_hand_computed_example():
    # Two classes, confidences .9, .9, .6, .55: bins (.8667, .9333] and two of their own, (.6, .6667] and (.5333, .6].
    confidence = torch.tensor([0.9, 0.9, 0.61, 0.55], dtype=torch.float64)
    logits = torch.stack((confidence.log(), (1 - confidence).log()), 1)
    right = torch.tensor([0, 1, 0, 1])
    expected = 2 / 4 * abs(0.9 - 0.5) + 1 / 4 * abs(0.61 - 1) + 1 / 4 * abs(0.55 - 0)
    assert expected_calibration_error(logits, right) == pytest.approx(expected)
    assert expected_calibration_error(logits, right, bins=1) == pytest.approx(abs(confidence.mean() - 0.5))


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    confidence = torch.tensor([0.5, 0.6], dtype=torch.float64)
    logits = torch.stack((confidence.log(), (1 - confidence).log()), 1)
    assert expected_calibration_error(logits, torch.tensor([0, 1]), bins=2) == pytest.approx((0.5 + 0.6) / 2)


def test_calibration_error_equals_a_plain_count_of_bins():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 4, generator=generator) * 2
    labels = torch.randint(4, (500,), generator=generator)
    confidence, said = logits.double().softmax(1).max(1)
    total = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            gap = confidence[inside].mean() - (said[inside] == labels[inside]).double().mean()
            total += float(inside.double().mean() * gap.abs())
    assert expected_calibration_error(logits, labels) == pytest.approx(total)


def test_calibration_error_of_a_sure_and_right_and_of_a_sure_and_wrong_model():
    sure = 100 * torch.eye(3)
    assert expected_calibration_error(sure, torch.tensor([0, 1, 2])) == pytest.approx(0)
    assert expected_calibration_error(sure, torch.tensor([1, 2, 0])) == pytest.approx(1)


def random_logits(n, classes, scale=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, classes, generator=generator, dtype=torch.float64), generator


def drawn(logits, generator):
    """Labels drawn from the softmax of the logits: these are then calibrated, by definition."""
    return torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)


def test_likelihood_and_brier_score_are_those_of_scikit_learn():
    logits, generator = random_logits(300, 4)
    labels = torch.randint(4, (300,), generator=generator)
    p = logits.softmax(1).numpy()
    assert nll(logits, labels) == pytest.approx(metrics.log_loss(labels.numpy(), p, labels=range(4)))
    each = [metrics.brier_score_loss((labels == k).numpy(), p[:, k]) for k in range(4)]
    assert brier(logits, labels) == pytest.approx(sum(each))


def test_likelihood_and_brier_score_by_hand():
    logits = torch.tensor([[0.8, 0.2], [0.4, 0.6]]).log()
    labels = torch.tensor([0, 0])
    assert nll(logits, labels) == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2)
    assert brier(logits, labels) == pytest.approx((2 * 0.2**2 + 2 * 0.6**2) / 2)
    sure = torch.tensor([[100.0, 0.0]])
    assert brier(sure, torch.tensor([1])) == pytest.approx(2)


def test_adaptive_bins_hold_equally_many_points():
    # Sorted confidences .6 .7 | .8 .9, right: 1 0 | 1 1.
    confidence = torch.tensor([0.9, 0.6, 0.8, 0.7], dtype=torch.float64)
    logits = torch.stack((confidence, 1 - confidence), 1).log()
    found = adaptive_calibration_error(logits, torch.tensor([0, 0, 0, 1]), bins=2)
    assert found == pytest.approx((abs(0.6 + 0.7 - 1) + abs(0.8 + 0.9 - 2)) / 4)
    # More bins than points: each on its own.
    each = [0.4, 0.7, 0.2, 0.1]
    assert adaptive_calibration_error(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(sum(each) / 4)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_recovers_a_known_scaling(temperature):
    logits, generator = random_logits(20000, 5)
    labels = drawn(logits, generator)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.03)
    # And exactly, as a property of the fit: scaling the logits scales the temperature.
    assert fit_temperature(logits * temperature, labels) == pytest.approx(
        temperature * fit_temperature(logits, labels), rel=1e-9
    )


def test_the_temperature_is_where_scipy_finds_the_lowest_loss():
    logits, generator = random_logits(200, 3)
    labels = drawn(logits, generator)
    logits = 2.5 * logits
    best = optimize.minimize_scalar(lambda log: nll(logits / math.exp(log), labels), bounds=(-3, 4), method="bounded")
    assert fit_temperature(logits, labels) == pytest.approx(math.exp(best.x), rel=1e-3)


def test_a_temperature_that_does_not_exist_stops_at_its_bounds():
    assert fit_temperature(torch.eye(3), torch.arange(3)) == pytest.approx(0.01)  # the sharper the better
    assert fit_temperature(torch.eye(3), torch.tensor([1, 2, 0])) == pytest.approx(100)  # the flatter the better


def test_the_interval_covers_the_calibration_error_of_the_population():
    # Twice too sharp logits: the population's error, from a million points.
    logits, generator = random_logits(1_000_000, 4)
    labels = drawn(logits, generator)
    truth = expected_calibration_error(2 * logits, labels)
    covered, plain = 0, 0
    for index in range(60):
        part = slice(500 * index, 500 * (index + 1))
        low, high = calibration_interval(2 * logits[part], labels[part], rng=Rng(index))
        assert 0 <= low <= high <= 1
        covered += low <= truth <= high
        plain += expected_calibration_error(2 * logits[part], labels[part]) > truth
    assert covered >= 51  # 95 % of 60 is 57; fewer than 51 has probability 0.006
    assert truth > 0.1 and plain > 30  # biased upward


def test_the_interval_of_a_calibrated_model_reaches_down_to_zero():
    reached = 0
    for seed in range(40):
        logits, generator = random_logits(500, 4, seed=seed)
        reached += calibration_interval(logits, drawn(logits, generator), rng=Rng(seed))[0] < 0.005
    assert reached >= 34


def test_the_interval_depends_on_its_generator_alone_and_not_on_how_resamples_are_batched(monkeypatch):
    logits, generator = random_logits(100, 4)
    labels = drawn(logits, generator)
    first = calibration_interval(logits, labels, rng=Rng(1))
    assert first == calibration_interval(logits, labels, rng=Rng(1)) != calibration_interval(logits, labels, rng=Rng(2))
    monkeypatch.setattr("robustreg.measures.calibration.AT_ONCE", 1000)
    assert calibration_interval(logits, labels, rng=Rng(1)) == pytest.approx(first, abs=0.02)


def test_calibration_measures_take_the_temperature_from_validation_and_report_on_test():
    logits, generator = random_logits(1200, 4)
    labels = drawn(logits, generator)
    x = (3 * logits).float().reshape(-1, 1, 1, 4)  # three times too sharp

    def split(part):
        return Split(x[part], labels[part], tuple("abcd"), torch.arange(len(labels[part])))

    parts = split(slice(0, 0)), split(slice(0, 600)), split(slice(600, None))
    splits = Splits(*parts, name="four", classes=tuple("abcd"), shape=(1, 1, 4), hash="", seed=0)
    # Logits that are not pixels: so no attack, as after training on corrupted labels.
    found = evaluate(nn.Flatten(), splits, label_condition="random:1.0", measures=calibration.MEASURES)
    assert found["temperature"] == fit_temperature(x[:600].flatten(1), labels[:600])
    assert found["temperature"] == pytest.approx(3, rel=0.2)
    assert found["nll"] == pytest.approx(nll(x[600:].flatten(1), labels[600:]))
    scaled = expected_calibration_error(x[600:].flatten(1).double() / found["temperature"], labels[600:])
    assert found["calibration_error_scaled"] == pytest.approx(scaled)
    assert found["calibration_error"] > 3 * found["calibration_error_scaled"]
    assert found["calibration_interval"]["low"] < found["calibration_error"]
    assert not evaluate(nn.Flatten(), splits, task="regression", measures=calibration.MEASURES)
    nothing = Splits(parts[0], parts[0], parts[2], name="four", classes=tuple("abcd"), shape=(1, 1, 4), hash="", seed=0)
    found = evaluate(nn.Flatten(), nothing, label_condition="random:1.0", measures=calibration.MEASURES)
    assert "nll" in found and not {"temperature", "calibration_error_scaled"} & found.keys()
