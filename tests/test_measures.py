"""The measures: against hand-computed numbers, closed forms and recomputation."""

import math

import pytest
import torch
from torch import nn

import robustreg as rr
from robustreg import hookspecs
from robustreg.attacks import evaluate_attacks, protocol_attacks
from robustreg.data import Split, Splits
from robustreg.errors import PluginError, UsageError
from robustreg.measures import (
    BUILT_IN,
    Measure,
    Subject,
    area,
    evaluate,
    expected_calibration_error,
    frobenius_norm,
    measure_all,
    measures,
    subject_of,
)

NAMES = [
    "train_accuracy",
    "clean_accuracy",
    "generalization_gap",
    "random_label_accuracy",
    "memorized_fraction",
    "recovered_fraction",
    "random_label_curve",
    "random_label_area",
    "epochs_to_half",
    "epochs_to_99",
    "last_minus_best_val",
    "fgsm_accuracy",
    "robust_accuracy",
    "fgsm_curve",
    "robust_curve",
    "robust_area",
    "certified_accuracy",
    "corruption_accuracy",
    "corruption_curve",
    "per_class_accuracy",
    "input_gradient_norm",
    "margin",
    "sharpness",
    "frobenius_norm",
    "layer_norms",
    "spectral_norms",
    "spectral_product",
    "calibration_error",
    "calibration_interval",
    "calibration_error_adaptive",
    "calibration_error_scaled",
    "temperature",
    "nll",
    "brier",
    "training_seconds",
    "gradient_passes",
    "trust_seconds",
]


class Brightest(nn.Module):
    """Predicts the brightest of the three pixels; the margin is the difference of brightness."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.scale * x.flatten(1)


def split(rows, labels):
    x = torch.tensor(rows, dtype=torch.float32).reshape(-1, 1, 1, 3)
    return Split(x, torch.tensor(labels), ("a", "b", "c"), torch.arange(len(labels)))


def three_pixels(train=None, test=None):
    nothing = ([[0.0, 0.0, 0.0]], [0])
    parts = [split(*(part or nothing)) for part in (train, None, test)]
    return Splits(*parts, name="three", classes=("a", "b", "c"), shape=(1, 1, 3), hash="", seed=0)


# Right by .8, .3, .1 and wrong: FGSM at eps closes a gap of 2 eps.
TEST = ([[0.9, 0.1, 0.1], [0.2, 0.5, 0.2], [0.3, 0.3, 0.4], [0.5, 0.4, 0.2]], [0, 1, 2, 2])
SPLITS = three_pixels(([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 0, 0]], [0, 1, 2, 1]), TEST)


def only(*names):
    return [measure for measure in BUILT_IN if measure.name in names]


def test_accuracies_of_a_model_that_can_be_read_off():
    found = evaluate(Brightest(), SPLITS, measures=only("train_accuracy", "clean_accuracy", "generalization_gap"))
    assert found == {"train_accuracy": 0.75, "clean_accuracy": 0.75, "generalization_gap": 0.0}


def test_memorization_counts_wrong_labels_that_are_predicted():
    # The model says 0 1 2 0 0; it was trained on 0 0 2 0 0, of which the second and the last two are wrong.
    rows = [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 0, 0], [1.0, 0, 0]]
    splits = three_pixels((rows, [0, 1, 2, 1, 2]), TEST)
    given = torch.tensor([0, 0, 2, 0, 0])
    found = evaluate(
        Brightest(), splits, given_labels=given, wrong=given != splits.train.y, label_condition="random:0.5"
    )
    assert found["train_accuracy"] == found["random_label_accuracy"] == 0.8
    assert found["memorized_fraction"] == pytest.approx(2 / 3)  # the last two are predicted 0, their wrong label
    assert found["recovered_fraction"] == pytest.approx(1 / 3)  # the second is predicted 1, its true label
    assert found["clean_accuracy"] == 0.75
    assert found["generalization_gap"] == pytest.approx(0.6 - 0.75)  # by the true labels
    assert not {"fgsm_accuracy", "robust_accuracy", "robust_curve"} & found.keys()


def test_memorization_does_not_apply_to_true_labels_nor_fractions_to_labels_that_are_all_right():
    assert (
        not {"random_label_accuracy", "memorized_fraction", "recovered_fraction"} & evaluate(Brightest(), SPLITS).keys()
    )
    found = evaluate(
        Brightest(), SPLITS, given_labels=SPLITS.train.y, wrong=torch.zeros(4, dtype=torch.bool), label_condition="x:0"
    )
    assert found["random_label_accuracy"] == 0.75
    assert not {"memorized_fraction", "recovered_fraction"} & found.keys()


def test_robustness_of_a_model_with_known_margins():
    # Margins .8, .3, .1: broken from eps .4, .15, .05 on. The fourth is wrong without an attack.
    found = evaluate(Brightest(), SPLITS, eps=[0, 0.02, 0.1, 0.2, 0.39, 0.41], headline_eps=0.1)
    curve = {"0.0": 0.75, "0.02": 0.75, "0.1": 0.5, "0.2": 0.25, "0.39": 0.25, "0.41": 0.0}
    assert found["robust_curve"] == found["fgsm_curve"] == curve
    assert found["robust_accuracy"] == found["fgsm_accuracy"] == 0.5
    steps = 0.02 * 0.75 + 0.08 * 0.625 + 0.1 * 0.375 + 0.19 * 0.25 + 0.02 * 0.125
    assert found["robust_area"] == pytest.approx(steps / 0.41)


def test_the_area_is_a_normalized_trapezoid():
    assert area({0.0: 1.0, 0.1: 0.5, 0.3: 0.0}) == pytest.approx((0.1 * 0.75 + 0.2 * 0.25) / 0.3)
    assert area({0.0: 0.6, 0.2: 0.6}) == pytest.approx(0.6)
    assert area({0.0: 0.6}) is None
    # A line from 1 to 0, however finely cut, has half the area.
    assert area({k / 100: 1 - k / 100 for k in range(101)}) == pytest.approx(0.5)


def test_the_area_of_a_fine_curve_is_the_mean_breaking_distance():
    grid = [k / 400 for k in range(201)]
    found = evaluate(Brightest(), SPLITS, eps=grid, measures=only("robust_area"))
    assert found["robust_area"] == pytest.approx((0.4 + 0.15 + 0.05) / 4 / 0.5, abs=0.005)


def test_headline_is_the_nearest_in_a_given_grid():
    assert subject_of(Brightest(), SPLITS).headline_eps == 2 / 16  # a small grey image
    assert subject_of(Brightest(), SPLITS, eps=[0, 0.1, 0.5]).headline_eps == 0.1
    assert subject_of(Brightest(), SPLITS, eps=[0, 0.1, 0.5], headline_eps=0.3).headline_eps == 0.3
    assert subject_of(Brightest(), SPLITS, eps=[0]).headline_eps == 0


def test_with_eps_zero_alone_robust_is_clean():
    found = evaluate(Brightest(), SPLITS, eps=[0])
    assert found["robust_accuracy"] == found["fgsm_accuracy"] == found["clean_accuracy"] == 0.75
    assert "robust_area" not in found


def test_the_calibration_error_is_that_of_the_test_split():
    assert evaluate(Brightest(), SPLITS)["calibration_error"] == pytest.approx(
        expected_calibration_error(torch.tensor(TEST[0]), torch.tensor(TEST[1])), abs=1e-6
    )


def test_frobenius_norm_is_the_norm_of_all_parameters_in_one_vector():
    assert float(frobenius_norm({"w": torch.tensor([[3.0]]), "b": torch.tensor([4.0])})) == 5
    torch.manual_seed(2021)
    layer = nn.Linear(20, 20)
    params = {name: value.detach() for name, value in layer.named_parameters()}
    assert float(frobenius_norm(params)) == pytest.approx(math.sqrt(7.328375816345215), rel=1e-6)
    flat = nn.utils.parameters_to_vector(layer.parameters())
    assert torch.allclose(frobenius_norm(params), flat.norm())
    found = evaluate(Brightest(), SPLITS)
    assert found["frobenius_norm"] == 1.0 and found["layer_norms"] == {"scale": 1.0}


def test_frobenius_norm_of_zeros_has_a_gradient():
    weight = torch.zeros(3, requires_grad=True)
    frobenius_norm({"w": weight}).backward()
    assert torch.equal(weight.grad, torch.zeros(3))


def test_the_tutorials_network_starts_at_the_known_norm():
    torch.manual_seed(2021)
    network = nn.Sequential(nn.Linear(3 * 32 * 32, 128), nn.Linear(128, 32), nn.Linear(32, 3))
    assert float(frobenius_norm(dict(network.named_parameters())).detach()) == pytest.approx(7.3810, abs=5e-4)


def test_costs_are_reported_when_known():
    known = evaluate(Brightest(), SPLITS, training_seconds=1.5, gradient_passes=40)
    assert known["training_seconds"] == 1.5 and known["gradient_passes"] == 40
    assert not {"training_seconds", "gradient_passes"} & evaluate(Brightest(), SPLITS).keys()


def test_the_built_in_measures_have_the_public_names_in_order():
    assert [measure.name for measure in measures()] == NAMES
    assert {measure.name for measure in BUILT_IN if measure.endpoint} == {
        "clean_accuracy",
        "memorized_fraction",
        "robust_accuracy",
    }
    assert hasattr(measures, f"{hookspecs.PROJECT}_impl")
    given = {"given_labels": SPLITS.train.y, "wrong": SPLITS.train.y >= 0, "training_seconds": 1, "gradient_passes": 1}
    for fields in (given, {}):
        found = evaluate(Brightest(), SPLITS, **fields)
        assert list(found) == [name for name in NAMES if name in found]
    assert rr.evaluate is evaluate and rr.measures.frobenius_norm is frobenius_norm


def test_what_is_not_asked_for_is_not_computed(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("attacked")

    monkeypatch.setattr("robustreg.measures.subject.evaluate_attacks", refuse)
    assert evaluate(Brightest(), SPLITS, measures=only("clean_accuracy")) == {"clean_accuracy": 0.75}
    with pytest.raises(PluginError, match="measure 'robust_accuracy' failed: AssertionError: attacked"):
        evaluate(Brightest(), SPLITS, measures=only("robust_accuracy"))


def test_the_attack_report_is_made_once_and_under_the_seed_of_the_subject(monkeypatch):
    seeds = []

    def counted(*arguments, **settings):
        seeds.append(settings["seed"])
        return evaluate_attacks(*arguments, **settings)

    monkeypatch.setattr("robustreg.measures.subject.evaluate_attacks", counted)
    evaluate(Brightest(), SPLITS, seed=9)
    assert seeds == [9]


def test_a_regression_model_has_no_accuracies():
    found = evaluate(Brightest(), SPLITS, task="regression")
    assert list(found) == ["frobenius_norm", "layer_norms"]


def test_a_measure_of_a_plugin_that_fails_is_named_and_one_that_does_not_apply_is_left_out():
    subject = subject_of(Brightest(), SPLITS)
    nothing = Measure("nothing", lambda subject: None, None, "")
    assert measure_all(subject, [nothing]) == {}
    with pytest.raises(PluginError, match="measure 'broken' failed: ZeroDivisionError"):
        measure_all(subject, [Measure("broken", lambda subject: 1 / 0, None, "")])


def test_evaluation_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 3)).train()
    model[1].eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    first = evaluate(model, SPLITS)
    assert [module.training for module in model] == [True, False, True, True] and model.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    again = evaluate(model, SPLITS)
    assert {**again, "trust_seconds": 0.0} == {**first, "trust_seconds": 0.0}


def test_another_device_is_measured_on_a_copy():
    model = Brightest()
    subject = Subject(model, SPLITS, device="meta")
    assert subject.device == torch.device("meta") and subject.model is not model
    assert model.scale.device == torch.device("cpu")
    assert Subject(model, SPLITS, device="cpu").model is model is Subject(model, SPLITS).model


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(UsageError, match="no field 'sed'"):
        evaluate(Brightest(), SPLITS, sed=1)
    with pytest.raises(UsageError, match="protocol must be one of"):
        evaluate(Brightest(), SPLITS, protocol="fast")
    with pytest.raises(UsageError, match="norm must be one of"):
        evaluate(Brightest(), SPLITS, norm="l3")


def test_protocol_and_norm_reach_the_attacks():
    subject = subject_of(Brightest(), SPLITS, protocol="standard", norm="l2")
    assert subject.attacks == protocol_attacks("standard")
    report = subject.attack_report
    assert report is not None and report.norm == "l2"
    # Two pixels share the step of length eps: a margin of .1 falls at eps .1 / sqrt(2).
    found = evaluate(Brightest(), SPLITS, norm="l2", protocol="standard", eps=[0, 0.069, 0.073, 0.2, 0.22])
    assert found["robust_curve"] == {"0.0": 0.75, "0.069": 0.75, "0.073": 0.5, "0.2": 0.5, "0.22": 0.25}
