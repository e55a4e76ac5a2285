"""FGSM and PGD against a third library, the Adversarial Robustness Toolbox, image by image."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import robustreg as rr
from robustreg.attacks import fgsm, pgd, scale_free

EPS = 0.1


@pytest.fixture(scope="module")
def art():
    # No test requirement: it is large. Where it is installed it has to agree.
    evasion = pytest.importorskip("art.attacks.evasion")
    return evasion, pytest.importorskip("art.estimators.classification").PyTorchClassifier


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    train = rr.load_data("digits", seed=0).train
    for epoch in range(12):
        for x, y in train.batches(torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch)), 50):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def points():
    return next(rr.load_data("digits", seed=0).test.batches(None, 300))


def classifier(art, model):
    return art[1](
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, 8, 8),
        nb_classes=10,
        clip_values=(0, 1),
        device_type="cpu",
    )


def right(model, x, y):
    with torch.no_grad():
        return model(x).argmax(-1) == y


@pytest.mark.slow
def test_fgsm_equals_art_image_for_image(art, trained, points):
    x, y = points
    theirs = art[0].FastGradientMethod(classifier(art, trained), eps=EPS, batch_size=64).generate(x.numpy(), y.numpy())
    theirs = torch.from_numpy(theirs)
    assert torch.equal(fgsm(trained, x, y, eps=EPS, loss="cross_entropy"), theirs)
    # Float32 cross-entropy has lost the sign of a gradient here and there; the scale-free loss has not.
    ours = fgsm(trained, x, y, eps=EPS)
    assert (ours != theirs).double().mean() < 1e-3 and torch.equal(right(trained, ours, y), right(trained, theirs, y))


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_returns_the_iterate_of_highest_loss_of_art_sample_for_sample(art, trained, points, norm):
    x, y = points
    eps, steps = (EPS, 20) if norm == "linf" else (0.5, 20)
    step = eps / 8
    settings = {"norm": np.inf if norm == "linf" else 2, "eps": eps, "eps_step": step}

    def theirs(steps):
        attack = art[0].ProjectedGradientDescent(
            classifier(art, trained), **settings, max_iter=steps, num_random_init=0, batch_size=64, verbose=False
        )
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    iterates = torch.stack([x, *(theirs(count) for count in range(1, steps + 1))])
    ours = pgd(trained, x, y, eps=eps, steps=steps, step_size=step, norm=norm, clean_start=True)
    further = pgd(trained, x, y, eps=eps, steps=steps, step_size=step, norm=norm, clean_start=True, persist=True)
    clean, left = right(trained, x, y), right(trained, ours, y)
    assert (left == torch.stack([right(trained, moved, y) for moved in iterates]).all(0)).double().mean() >= 0.99
    assert 0.05 < left.double().mean() < clean.double().mean() - 0.3
    # What was broken on the way was let go here; the whole way is theirs. We return its best image, they its last one,
    # in linf another one for a tenth of the images: steps of one size jump to and fro across a kink.
    with torch.no_grad():
        highest = torch.stack([scale_free(trained(moved), y) for moved in iterates]).amax(0)
        reached = scale_free(trained(further), y)
    # In l2 they go to the box first and then into the ball, we the other way round: not the same image at the border.
    near, short = (1e-4, 1e-3) if norm == "linf" else (0.5 * step, 0.05)
    close = (iterates - further).abs().flatten(2).amax(2).amin(0)
    assert (close < near).double().mean() >= 0.98, close
    assert (reached >= highest - short).double().mean() >= 0.98
