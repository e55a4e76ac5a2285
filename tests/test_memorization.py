"""Memorization in depth: curves and areas by hand, the chance band against brute force and real random labels."""

import itertools
import math

import pytest
import torch
from torch import nn

import robustreg as rr
from robustreg.data import Split, Splits
from robustreg.measures import Subject, measure_all
from robustreg.measures.chance import chance_band, renaming_spread
from robustreg.measures.memorization import MEASURES
from robustreg.study.conditions import LabelCondition


def points(logits, labels, classes):
    """Images that are their own logits."""
    x = torch.as_tensor(logits, dtype=torch.float32).reshape(len(labels), 1, 1, classes)
    return Split(x, torch.as_tensor(labels), tuple(map(str, range(classes))), torch.arange(len(labels)))


def subject(history=(), *, said=(0, 1), y=(0, 1), classes=2, condition="random:1.0", given=(0, 1), **fields):
    one = torch.eye(classes)
    train = points(one[[0, 1]], [0, 1], classes)
    test = points(one[list(said)], list(y), classes)
    names = tuple(map(str, range(classes)))
    splits = Splits(train, train.subset(torch.arange(0)), test, "own", names, (1, 1, classes), "", 0)
    labels = None if given is None else torch.tensor(given)
    return Subject(
        nn.Flatten(), splits, given_labels=labels, label_condition=condition, history=list(history), **fields
    )


def measured(*args, **fields):
    found = measure_all(subject(*args, **fields), MEASURES)
    found.pop("random_label_accuracy", None)
    return found


def rows(train, val=None):
    return [
        {"epoch": index, "train_accuracy": accuracy} | ({} if val is None else {"val_accuracy": val[index]})
        for index, accuracy in enumerate(train)
    ]


def test_curve_area_and_epochs_of_a_history_by_hand():
    found = measured(rows([0.1, 0.4, 0.6, 0.99, 1.0], [0.3, 0.5, 0.4, 0.2, 0.1]))
    assert found == {
        "random_label_curve": {"1": 0.1, "2": 0.4, "3": 0.6, "4": 0.99, "5": 1.0},
        "random_label_area": pytest.approx((0.25 + 0.5 + 0.795 + 0.995) / 4),
        "epochs_to_half": 3.0,
        "epochs_to_99": 4.0,
        "last_minus_best_val": pytest.approx(0.1 - 0.5),
    }


def test_what_was_never_reached_is_left_out_and_a_dip_afterwards_does_not_count():
    found = measured(rows([0.3, 0.5, 0.2, 0.4]))
    assert found["epochs_to_half"] == 2.0 and "epochs_to_99" not in found and "last_minus_best_val" not in found


def test_a_long_curve_is_thinned_to_25_points_with_both_ends_and_its_area_is_of_all():
    line = [epoch / 400 for epoch in range(401)]
    found = measured(rows(line))
    curve = found["random_label_curve"]
    at = [int(key) for key in curve]
    assert len(curve) == 25 and at == sorted(set(at)) and (at[0], at[-1]) == (1, 401)
    assert all(curve[key] == line[int(key) - 1] for key in curve)
    assert {after - before for before, after in itertools.pairwise(at)} <= {16, 17}
    assert found["random_label_area"] == pytest.approx(0.5)
    spike = measured(rows([0.0] * 200 + [1.0] + [0.0] * 200))
    assert spike["random_label_area"] == pytest.approx(1 / 400)
    assert sum(spike["random_label_curve"].values()) in (0.0, 1.0)


def test_one_epoch_has_no_area_and_no_history_no_numbers():
    assert measured(rows([0.5])) == {"random_label_curve": {"1": 0.5}, "epochs_to_half": 1.0}
    assert measured() == {}


def test_a_run_on_true_labels_and_a_regression_have_none_of_it():
    assert measured(rows([0.1, 1.0], [0.1, 0.2]), given=None, condition="true") == {}
    assert measured(rows([0.1, 1.0], [0.1, 0.2]), task="regression") == {}


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_spread_over_renamings_is_that_of_all_of_them(classes):
    generator = torch.Generator().manual_seed(classes)
    y, said = torch.randint(classes, (2, 40), generator=generator)
    each = [float((torch.tensor(names)[said] == y).double().mean()) for names in itertools.permutations(range(classes))]
    mean = sum(each) / len(each)
    assert mean == pytest.approx(1 / classes)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in each) / len(each))
    assert renaming_spread(y, said, classes) == pytest.approx(deviation)


def test_answers_that_do_not_depend_on_the_class_have_nearly_the_binomial_spread():
    generator = torch.Generator().manual_seed(0)
    y, said = torch.randint(10, (2, 50_000), generator=generator)
    assert renaming_spread(y, said, 10) == pytest.approx(math.sqrt(0.1 * 0.9 / 50_000), rel=0.25)


def balanced(right, *, n=500, classes=10):
    """Labels, and answers of which exactly `right` are right and the others spread over the other classes."""
    y = torch.arange(n) % classes
    other = 1 + torch.arange(n) // classes % (classes - 1)
    return torch.where(torch.arange(n) < right, y, (y + other) % classes).tolist(), y.tolist()


@pytest.mark.parametrize(
    ("right", "level"), [(50, "green"), (62, "green"), (64, "amber"), (36, "amber"), (120, "red"), (475, "red")]
)
def test_the_band_of_independent_answers_is_the_binomial_one(right, level):
    # n = 500, p0 = .1: 1.96 standard errors are 13.1 images.
    said, y = balanced(right)
    flag = chance_band(subject(said=said, y=y, classes=10))
    assert flag["flag"] == "chance_band" and flag["value"] == right / 500
    assert flag["level"] == level
    assert f"{right / 500:.1%}" in flag["says"] and "10.0%" in flag["says"] and flag["says"].endswith(".")
    assert ("leak" in flag["says"]) == (level == "red")


def test_classes_that_stand_and_fall_together_have_a_wider_band():
    # One class of ten is answered rightly, the others are rotated: 10 % more than none, and no evidence of anything.
    y = torch.arange(500) % 10
    said = torch.where(y < 2, y, 2 + (y - 1) % 8)
    flag = chance_band(subject(said=said.tolist(), y=y.tolist(), classes=10))
    assert flag["value"] == 0.2 and flag["level"] == "green"  # 7.5 binomial standard errors


def test_a_leak_is_red_with_few_classes_too():
    said, y = balanced(480, classes=3)
    assert chance_band(subject(said=said, y=y, classes=3))["level"] == "red"
    said, y = balanced(470, classes=2)
    assert chance_band(subject(said=said, y=y, classes=2))["level"] == "red"


def test_chance_under_permuted_labels_is_that_of_their_frequencies():
    # Nine in ten training labels are 0, and so are nine in ten test labels: p0 = .82, not .5.
    flag = chance_band(subject(said=[0] * 100, y=[0] * 90 + [1] * 10, condition="permute:1.0", given=[0] * 9 + [1]))
    assert "82.0%" in flag["says"] and flag["level"] != "red"


@pytest.mark.parametrize("condition", ["true", "random:0.9", "uniform_other:1.0", "pair_flip:1.0"])
def test_other_labels_promise_no_chance(condition):
    assert chance_band(subject(condition=condition)) is None
    assert chance_band(subject(given=None)) is None
    assert chance_band(subject(task="regression")) is None


def test_networks_trained_on_random_labels_are_not_red_and_one_on_true_labels_is():
    levels = []
    for seed in range(8):
        splits = rr.load_data("digits", seed=seed)
        labelled = LabelCondition(1.0, images=300).apply(splits, seed)
        torch.manual_seed(seed)
        run = rr.train(rr.models.mlp((1, 8, 8), 10), [], labelled.splits, seed=seed, epochs=40)
        about = {"given_labels": labelled.given, "label_condition": "random:1.0", "history": run.history}
        trained = Subject(run.model, labelled.truth, wrong=labelled.wrong, **about)
        levels.append(chance_band(trained)["level"])
        if seed == 0:
            found = measure_all(trained, MEASURES)
            assert found["random_label_curve"]["40"] == pytest.approx(found["random_label_accuracy"])
            assert 0.1 < found["random_label_area"] < found["random_label_accuracy"]
    assert "red" not in levels and levels.count("green") >= 6
    leaked = rr.train(rr.models.mlp((1, 8, 8), 10), [], splits, epochs=3)
    assert chance_band(Subject(leaked.model, labelled.truth, **about))["level"] == "red"
