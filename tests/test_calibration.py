"""The calibration error: against hand-computed bins."""

import pytest
import torch

from robustreg.measures import expected_calibration_error


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
