"""The plugin keeps the laws of robustreg, and computes what its papers say."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from robustreg_adv import (
    AWP,
    MART,
    NFGSM,
    VAT,
    FreeTraining,
    GradAlign,
    boosted_margin,
    misalignment,
    regularizers,
    sharpest,
    weighted_divergence,
    worst_weights,
)
from scipy import special, stats
from torch import Tensor, nn
from torch.nn import functional as F

from robustreg import Objective, Regularizer, testing
from robustreg.errors import UsageError
from robustreg.noise import Rng
from robustreg.regularizers import Dropout, FGSMTraining, Mixup, PGDTraining, anywhere
from robustreg.testing.bench import Bench, Watcher
from robustreg.testing.cohorts import batches_are_exact, compare, trained

TEAMS = [*((Mixup, Dropout, FGSMTraining, kind) for kind in regularizers()), *combinations(regularizers(), 2)]


def network() -> nn.Sequential:
    """Return a small smooth network in float64: the second derivatives of ReLU are 0."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4)).double()


def data(count: int = 6) -> tuple[Tensor, Tensor]:
    """Return images `(count, 1, 3, 4)` and labels as rows."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(count, 1, 3, 4, generator=generator, dtype=torch.float64)
    return x, F.one_hot(torch.randint(4, (count,), generator=generator), 4).double()


def steepest(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of the mean cross-entropy by the images, by autograd."""
    images = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(images), y), images)
    return slope


@pytest.mark.parametrize("kind", regularizers(), ids=lambda kind: kind.name)
def test_it_keeps_the_laws(kind: type[Regularizer]) -> None:
    """No law of `robustreg.testing` is broken."""
    assert [row for row in testing.check(kind) if row["status"] == "failed"] == []


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: "+".join(one.name for one in team))
def test_it_gets_on_with_others(team: tuple[type[Regularizer], ...]) -> None:
    """Beside one another, and beside built-in ones, runs that train together end where they end alone."""
    together, alone = trained([Bench(kind, {}) for kind in team], runs=2)
    compare(together, alone, exact=batches_are_exact(*team))


def test_awp_takes_loss_and_gradient_at_weights_moved_by_a_share_of_their_norm() -> None:
    """Autograd and a copy of the network with moved weights are the oracle; biases stay."""
    (x, y), model, moved = data(), network(), network()
    F.cross_entropy(moved(x), y).backward()
    with torch.no_grad():
        for value in moved.parameters():
            if value.ndim > 1:
                assert value.grad is not None
                value.add_(0.05 * value.norm() * value.grad / value.grad.norm())
    moved.zero_grad()
    wanted = F.cross_entropy(moved(x), y)
    wanted.backward()
    loss, _ = Objective(model, [AWP(0.05)])(x, y, 0)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-12)
    for own, other in zip(model.parameters(), moved.parameters(), strict=True):
        assert own.grad is not None and other.grad is not None
        torch.testing.assert_close(own.grad, other.grad)


def test_awp_attacks_the_weights_at_the_attacked_images() -> None:
    """With adversarial training the ascent is that of the loss of the attacked batch."""
    (x, y), model = data(), network()
    attacked = (x + 0.1 * steepest(model, x, y).sign()).clamp(0, 1)
    alone, _ = Objective(model, [AWP(0.05)])(attacked, y, 0)
    both, _ = Objective(model, [FGSMTraining(0.1), AWP(0.05)])(x, y, 0)
    assert both.item() == pytest.approx(alone.item(), rel=1e-12)


def test_awp_stands_still_where_there_is_no_slope() -> None:
    """A gradient of 0 has no direction, and a tiny one has one."""
    params = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}

    def loss(x: Tensor, y: Tensor, params: dict[str, Tensor]) -> Tensor:
        return params["weight"].sum() * x

    zero, little = torch.tensor(0.0), torch.tensor(1e-30)
    assert set(worst_weights(params, loss, zero, zero)) == {"weight"}
    assert worst_weights(params, loss, zero, zero)["weight"].abs().max() == 0
    tiny = worst_weights(params, loss, little, zero)["weight"]
    torch.testing.assert_close(tiny, torch.ones(2, 3))


def test_misalignment_is_one_less_the_cosine() -> None:
    """SciPy's cosine distance of each pair is the oracle, 2 for opposite and 0 for parallel ones."""
    first, second = torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = zip(first.flatten(1).numpy(), second.flatten(1).numpy(), strict=True)
    wanted = np.mean([1 - np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])
    assert misalignment(first, second).item() == pytest.approx(wanted)
    assert misalignment(first, -3 * first).item() == pytest.approx(2)
    assert misalignment(first, 5 * first).item() == pytest.approx(0, abs=1e-15)


def test_gradalign_compares_gradients_at_clean_images_whatever_attacks_them() -> None:
    """Autograd at x and at x + eta is the oracle, and FGSM training beside it changes nothing."""
    (x, y), model = data(), network()
    eta = anywhere(x, Rng(7).split("gradalign"), eps=torch.tensor(0.2, dtype=torch.float64))
    assert 0.15 < (eta - x).abs().max() <= 0.2 + 1e-12
    wanted = 0.5 * misalignment(steepest(model, x, y), steepest(model, eta, y))
    assert wanted > 1e-4
    for others in ([], [FGSMTraining(0.2)]):
        _, terms = Objective(model, [*others, GradAlign(0.5, eps=0.2)])(x, y, 7)
        assert terms["gradalign"].item() == pytest.approx(wanted.item(), rel=1e-9)


def test_the_boosted_margin_is_the_largest_wrong_probability() -> None:
    """Written out in probabilities, and finite where float32 has none left."""
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    label = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    label[:3] = logits[:3].argmax(-1)  # what the network gets right
    y = F.one_hot(label, 4)
    p = special.softmax(logits.numpy(), axis=1)
    wanted = np.mean(-np.log(1 - (p * (1 - y.numpy())).max(1)))
    assert boosted_margin(logits, y).item() == pytest.approx(wanted)
    assert boosted_margin(torch.tensor([[0.0, 200.0]]), torch.tensor([[1.0, 0.0]])).item() == pytest.approx(200)


def test_the_divergence_is_weighted_by_what_the_clean_image_lacks() -> None:
    """SciPy's relative entropy is the oracle."""
    clean, attacked = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    label = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    p, q = special.softmax(clean.numpy(), axis=1), special.softmax(attacked.numpy(), axis=1)
    wanted = np.mean(stats.entropy(p, q, axis=1) * (1 - p[np.arange(7), label]))
    assert weighted_divergence(clean, attacked, F.one_hot(label, 4)).item() == pytest.approx(wanted)


def test_mart_is_its_formula_at_the_images_of_pgd_training() -> None:
    """The loss of the objective is BCE and the divergence, between clean images and those that PGD training finds."""
    (x, y), model, watcher = data(), network(), Watcher()
    Objective(model, [PGDTraining(0.2, name="mart"), watcher])(x, y, 5)
    attacked = watcher.seen["x"]
    assert 0.1 < (attacked - x).abs().max() <= 0.2 + 1e-12
    log_p = model(attacked).log_softmax(-1)
    wrong = (log_p.exp() * (1 - y)).max(-1).values
    bce = -(log_p * y).sum(-1) - (1 - wrong).log()
    clean = model(x).log_softmax(-1)
    divergence = F.kl_div(log_p, clean, log_target=True, reduction="none").sum(-1)
    wanted = (bce + 3 * divergence * (1 - (clean.exp() * y).sum(-1))).mean()
    loss, terms = Objective(model, [MART(0.2, beta=3)])(x, y, 5)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-9)
    assert set(terms) == {"loss", "mart"}


def test_n_fgsm_steps_from_wide_noise_and_is_not_brought_back() -> None:
    """Autograd at the noisy image is the oracle; some pixels end farther away than eps, none than (1 + spread) eps."""
    (x, y), model, watcher = data(), network(), Watcher()
    Objective(model, [NFGSM(0.1, spread=1.5), watcher])(x, y, 5)
    start = anywhere(x, Rng(5).split("n_fgsm").split("start"), eps=torch.tensor(0.15, dtype=torch.float64))
    wanted = (start + 0.1 * steepest(model, start, y).sign()).clamp(0, 1)
    torch.testing.assert_close(watcher.seen["x"], wanted)
    assert 0.15 < (watcher.seen["x"] - x).abs().max() <= 0.25 + 1e-12


def test_vat_moves_along_the_first_eigenvector_of_the_divergence() -> None:
    """The Hessian by autograd and LAPACK's eigenvectors are the oracle."""
    (x, _), model = data(2), network()
    found = sharpest(model, x, torch.ones_like(x), 200)
    for image, direction in zip(x, found, strict=True):
        known = model(image[None]).log_softmax(-1).detach()

        def divergence(r: Tensor, image: Tensor = image, known: Tensor = known) -> Tensor:
            return F.kl_div(model(image[None] + r).log_softmax(-1), known, log_target=True, reduction="sum")

        hessian = torch.autograd.functional.hessian(divergence, torch.zeros_like(image[None])).reshape(12, 12)
        first = torch.linalg.eigh(hessian).eigenvectors[:, -1]
        assert abs(float(first @ direction.detach().flatten())) == pytest.approx(1, abs=1e-6)


def test_vat_is_the_divergence_at_the_end_of_that_way() -> None:
    """An image in the middle of the box is moved by eps in l2, and the term is the divergence there."""
    (x, y), model = data(), network()
    x = 0.4 + 0.2 * x
    start = Rng(5).split("vat").normal(*x.shape).double()
    moved = x + 0.3 * sharpest(model, x, start, 1)
    torch.testing.assert_close((moved - x).flatten(1).norm(dim=1), torch.full((6,), 0.3, dtype=torch.float64))
    wanted = F.kl_div(model(moved).log_softmax(-1), model(x).log_softmax(-1), log_target=True, reduction="batchmean")
    _, terms = Objective(model, [VAT(2.0, eps=0.3)])(x, y, 5)
    assert terms["vat"].item() == pytest.approx(2 * wanted.item(), rel=1e-9)


def test_free_training_is_the_algorithm_of_the_paper() -> None:
    """The paper's loop, one backward pass for weights and perturbation, is the oracle: replays, and d carried on."""
    eps, replays, rate = 0.1, 3, 0.5
    x, y = data()
    x = 0.3 + 0.4 * x  # inside the box with all that is added, so that nothing is clamped to it
    batches = [(x, y), (x.flip(0), y.roll(1, 0)), (1 - x, y.flip(0))]
    wanted, change = network(), torch.zeros_like(x)
    for images, labels in batches:
        for _ in range(replays):
            noise = change.clone().requires_grad_()
            wanted.zero_grad()
            F.cross_entropy(wanted(images + noise), labels).backward()
            assert noise.grad is not None
            change = (change + eps * noise.grad.sign()).clamp(-eps, eps)
            _descend(wanted, rate)
    model = network()
    objective = _objective(model, FreeTraining(eps, replays=replays), x, y)
    for step in range(replays * len(batches)):
        images, labels = batches[step // replays] if step % replays == 0 else (0 * x, 0 * y)  # not to be looked at
        model.zero_grad()
        objective(images, labels, step)[0].backward()
        _descend(model, rate)
    for own, other in zip(model.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(own, other)
    member: Any = objective.regularizers["free_training"]
    torch.testing.assert_close(member.change, change)


def test_free_training_says_that_a_batch_is_larger_than_the_first_one() -> None:
    """There are as many slots as the first batch has images; a smaller batch uses the first of them."""
    x, y = data()
    objective = _objective(network(), FreeTraining(), x[:4], y[:4])
    assert torch.isfinite(objective(x[:2], y[:2], 0)[0])
    with pytest.raises(UsageError, match="a batch has 4 images, got 6"):
        objective(x, y, 0)


def _descend(model: nn.Module, rate: float) -> None:
    with torch.no_grad():
        for value in model.parameters():
            assert value.grad is not None
            value.sub_(rate * value.grad)


def _objective(model: nn.Module, member: Regularizer, x: Tensor, y: Tensor) -> Objective:
    """Return an objective with what `train` offers: other networks trained on the same data, this one batch."""
    return Objective(model, [member], fit=lambda network, *others: Objective(network, others)(x, y, 0))
