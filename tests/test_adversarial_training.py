"""Adversarial training against closed forms on linear models, other libraries, and the attacks that judge it."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from robustreg.attacks import pgd
from robustreg.attacks.points import Points
from robustreg.data.split import Split, Splits
from robustreg.errors import PluginError, UsageError
from robustreg.hookspecs import hookimpl
from robustreg.layers import Dropout
from robustreg.noise import Rng
from robustreg.objective import Objective
from robustreg.regularizer import Regularizer
from robustreg.regularizers import (
    EarlyStopping,
    FGSMRandomStart,
    FGSMTraining,
    PGDTraining,
    Trades,
    anywhere,
    ascend,
    ascent,
    divergence,
    nearest,
    warmed,
)
from robustreg.regularizers.early_stopping import robust_accuracy
from robustreg.testing import check
from robustreg.threat import ThreatModel
from robustreg.training import train

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(12, 1, 4, 4, generator=GENERATOR, dtype=torch.float64)
Y = torch.arange(12) % 3
INSIDE = 0.3 + 0.4 * X  # so far from black and white that the box cuts nothing off
NORMS = ("linf", "l2")


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 3)).double()


def linear(seed: int = 0, classes: int = 2) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).double()


def moody(seed: int = 0) -> nn.Sequential:
    """A network that computes otherwise in evaluation mode."""
    torch.manual_seed(seed)
    head = (nn.Flatten(), nn.ReLU(), Dropout(0.5), nn.Linear(48, 3))
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), *head).double()
    model(X)
    return model.train()


def loss_of(model: nn.Module, y: Tensor = Y) -> Callable[[Tensor], Tensor]:
    return lambda image: F.cross_entropy(model(image), y)


def eps_of(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


class Look(Regularizer):
    """Keep the batch that is learned from."""

    name = "look"

    @hookimpl
    def penalty(self, x: Tensor, y: Tensor) -> None:
        self.seen = x, y


def learned_from(
    member: Regularizer, model: nn.Module, x: Tensor = X, y: Tensor = Y, key: int = 0, progress: float = 1.0
) -> Tensor:
    look = Look()
    Objective(model, [member, look])(x, y, key, progress)
    return look.seen[0]


# The ascent.


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("box", [INSIDE, X], ids=["inside", "at the edge"])
def test_the_ascent_ends_where_pgd_ends_from_the_same_start(norm: str, box: Tensor) -> None:
    eps, steps = (0.05, 4) if norm == "linf" else (0.2, 4)
    model = network()
    threat = ThreatModel(norm, eps)
    start = threat.start(box, Points(model, box, Y, 7, torch.arange(len(box))).rng("pgd", 0), torch.arange(len(box)))
    wanted = pgd(model, box, Y, eps=eps, steps=steps, norm=norm, loss="cross_entropy", persist=True, seed=7)
    found = ascend(box, loss_of(model), start, eps=eps_of(eps), steps=steps, norm=norm)
    # PGD keeps the image of highest loss; at so small a step that is the last one, for all but a few.
    same = (found - wanted).abs().flatten(1).amax(1) < 1e-7
    losses = [F.cross_entropy(model(images), Y, reduction="none") for images in (found, wanted, box)]
    assert same.sum() >= 10
    assert (losses[0] <= losses[1] + 1e-9).all()
    assert (losses[0] > losses[2]).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_ascent_is_projected_gradient_ascent_step_by_step(norm: str) -> None:
    model, eps, steps, travel = network(), 0.4, 5, 3.0  # so large that the ball and the box both cut
    image = X.numpy()
    start = np.clip(image + 0.2, 0, 1) if norm == "linf" else image
    at = start
    for _ in range(steps):
        x = torch.tensor(at, requires_grad=True)
        (slope,) = torch.autograd.grad(F.cross_entropy(model(x), Y, reduction="sum"), x)
        size, way = travel * eps / steps, slope.numpy()
        if norm == "linf":
            at = np.clip(np.clip(at + size * np.sign(way), image - eps, image + eps), 0, 1)
        else:
            length = np.sqrt((way**2).sum((1, 2, 3), keepdims=True))
            change = at + size * way / length - image
            far = np.sqrt((change**2).sum((1, 2, 3), keepdims=True))
            at = np.clip(image + change * np.minimum(1, eps / far), 0, 1)
    first = torch.tensor(start)
    found = ascend(X, loss_of(model), first, eps=eps_of(eps), steps=steps, travel=travel, norm=norm)
    np.testing.assert_allclose(found.numpy(), at, atol=1e-12)
    assert float((found - X).abs().max()) > 0.1


@pytest.mark.parametrize("norm", NORMS)
def test_no_budget_moves_nothing_to_the_last_bit(norm: str) -> None:
    x = X.float()
    start = torch.rand(x.shape)
    found = ascend(x, loss_of(network().float()), start, eps=eps_of(0.0), steps=3, norm=norm)
    assert torch.equal(found, x)
    assert torch.equal(anywhere(x, Rng(1), eps=eps_of(0.0), norm=norm), x)


def test_nothing_flows_back_through_the_ascent() -> None:
    model = network()
    x = X.clone().requires_grad_()
    assert not ascend(x, loss_of(model), eps=eps_of(0.1), steps=2).requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_where_the_score_is_flat_nothing_moves() -> None:
    for norm in NORMS:
        found = ascend(X, lambda image: 0 * image.sum(), eps=eps_of(0.1), steps=3, norm=norm)
        assert torch.equal(found, X)


def test_a_start_outside_the_budget_is_moved_inside_before_the_first_step() -> None:
    # Uphill is downwards where the way begins, and upwards where it would begin otherwise.
    found = ascend(INSIDE, lambda image: (image - INSIDE - 1).square().sum(), INSIDE + 5, eps=eps_of(0.1), steps=1)
    torch.testing.assert_close(found, INSIDE - 0.1, rtol=0, atol=1e-12)


def test_budgets_of_a_cohort_may_differ() -> None:
    model, budgets = network(), torch.tensor([0.0, 0.05, 0.3], dtype=torch.float64)
    for norm in NORMS:

        def one(eps: Tensor, norm: str = norm) -> Tensor:
            return ascend(X, loss_of(model), anywhere(X, Rng(3), eps=eps, norm=norm), eps=eps, steps=3, norm=norm)

        together = torch.vmap(one)(budgets)
        alone = torch.stack([one(eps) for eps in budgets])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


# Starts and projections.


def test_a_start_in_linf_is_uniform_in_the_cube_and_cut_off_at_the_box() -> None:
    x = torch.full((400, 1, 5, 5), 0.5)
    found = anywhere(x, Rng(5), eps=eps_of(0.2)).flatten().double()
    assert stats.kstest(found.numpy(), stats.uniform(0.3, 0.4).cdf).pvalue > 1e-3
    edge = anywhere(torch.zeros_like(x), Rng(5), eps=eps_of(0.2))
    assert float(edge.min()) == 0 and 0.45 < float((edge == 0).double().mean()) < 0.55


def test_a_start_in_l2_is_uniform_in_the_ball() -> None:
    x = torch.full((3000, 1, 2, 2), 0.5)
    change = (anywhere(x, Rng(5), eps=eps_of(0.3), norm="l2") - 0.5).flatten(1).double()
    radius = change.norm(dim=1) / 0.3
    assert float(radius.max()) <= 1 + 1e-6
    assert stats.kstest((radius**4).numpy(), stats.uniform.cdf).pvalue > 1e-3  # the volume within a radius
    first = change[:, 0] / change.norm(dim=1)
    assert stats.kstest(((first + 1) / 2).numpy(), lambda t: _cap(2 * t - 1)).pvalue > 1e-3
    assert len(torch.unique(radius)) > 2900  # each image has a start of its own


def _cap(t: np.ndarray) -> np.ndarray:
    """The share of the sphere in four dimensions whose first coordinate is below t."""
    return 0.5 + (t * np.sqrt(1 - t**2) + np.arcsin(t)) / np.pi


@pytest.mark.parametrize("norm", NORMS)
def test_a_projection_is_the_threat_models(norm: str) -> None:
    candidate = X + torch.randn(X.shape, generator=GENERATOR, dtype=torch.float64)
    for eps in (0.05, 0.7, 10.0):
        wanted = ThreatModel(norm, min(eps, 1.0) if norm == "linf" else eps).project(candidate, X)
        found = nearest(candidate, X, eps_of(min(eps, 1.0) if norm == "linf" else eps), norm)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("warmup", "progress", "share"),
    [(0.5, 0.0, 0), (0.5, 0.125, 0.25), (0.5, 0.5, 1), (0.5, 0.9, 1), (0.0, 0.0, 1), (1.0, 0.75, 0.75), (1.0, 1.0, 1)],
)
def test_a_budget_grows_evenly_over_the_warmup(warmup: float, progress: float, share: float) -> None:
    assert float(warmed(eps_of(0.3), eps_of(warmup), progress)) == pytest.approx(0.3 * share, rel=1e-15)


# Training on attacked images.


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_on_a_linear_model_pgd_training_minimizes_the_exact_worst_case(norm: str, dual: int) -> None:
    # Goodfellow's identity: the largest loss within eps is softplus(eps * |w|_dual - margin). At l2 the way to the one
    # farthest point is long from a random start.
    eps, y, model, plain = 0.1, Y[:12] % 2, linear(), linear()
    member = PGDTraining(eps, norm=norm, steps=7 if norm == "linf" else 400, travel=2.5 if norm == "linf" else 400)
    loss, _ = Objective(model, [member])(INSIDE, y, 0)
    difference = plain(INSIDE)[:, 1] - plain(INSIDE)[:, 0]
    weight = plain[1].weight[1] - plain[1].weight[0]
    margin = torch.where(y == 1, difference, -difference)
    exact = F.softplus(eps * torch.linalg.vector_norm(weight, dual) - margin).mean()
    assert loss.item() == pytest.approx(exact.item(), rel=1e-9 if norm == "linf" else 1e-5)
    loss.backward()
    exact.backward()
    for found, wanted in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-7 if norm == "linf" else 1e-2, atol=1e-4)


def test_fgsm_on_a_linear_model_is_the_exact_worst_case_too() -> None:
    model, y = linear(), Y % 2
    torch.testing.assert_close(
        learned_from(FGSMTraining(0.1), model, INSIDE, y),
        learned_from(PGDTraining(0.1, warmup=0.0), model, INSIDE, y),
        rtol=0,
        atol=1e-12,
    )


def test_an_attack_of_many_steps_finds_a_higher_loss_than_one_of_one() -> None:
    model = network(3)
    for eps in (0.1, 0.3):
        one, many = (
            F.cross_entropy(model(learned_from(kind(eps), model)), Y).item()
            for kind in (FGSMTraining, lambda eps: PGDTraining(eps, steps=20))
        )
        assert many > one > F.cross_entropy(model(X), Y).item()


def test_one_step_from_a_random_start_is_torchattacks_ffgsm(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = pytest.importorskip("torchattacks").FFGSM
    model, eps = network(), 0.2
    start = anywhere(X, Rng(4).split("fgsm_random_start").split("start"), eps=eps_of(eps))
    monkeypatch.setattr(Tensor, "uniform_", lambda self, low, high: self.copy_(start - X))
    wanted = theirs(model, eps=eps, alpha=1.25 * eps)(X, Y)
    found = learned_from(FGSMRandomStart(eps), model, key=4)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    assert float((found - X).abs().max()) == pytest.approx(eps)


def test_pgd_training_learns_from_torchattacks_pgd(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = pytest.importorskip("torchattacks").PGD
    model, eps = network(), 0.2
    start = anywhere(X, Rng(4).split("pgd_training").split("start"), eps=eps_of(eps))
    monkeypatch.setattr(Tensor, "uniform_", lambda self, low, high: self.copy_(start - X))
    wanted = theirs(model, eps=eps, alpha=2.5 * eps / 7, steps=7)(X, Y)
    torch.testing.assert_close(learned_from(PGDTraining(eps), model, key=4), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [PGDTraining, FGSMRandomStart])
def test_starts_are_those_of_the_step_and_of_nothing_else(kind: type[Regularizer]) -> None:
    model = network()
    first, again, other = (learned_from(kind(0.2, steps=1, travel=0.5), model, key=key) for key in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", [PGDTraining, FGSMRandomStart])
def test_the_attack_has_its_full_size_after_the_warmup(kind: type[Regularizer]) -> None:
    sizes = {
        progress: float(
            (learned_from(kind(0.2, warmup=0.4), network(), INSIDE, progress=progress) - INSIDE).abs().max()
        )
        for progress in (0.0, 0.1, 0.2, 0.4, 0.9)
    }
    assert list(sizes.values()) == pytest.approx([0, 0.05, 0.1, 0.2, 0.2])
    x, y = X.float(), Y
    assert torch.equal(learned_from(kind(0.2, warmup=0.4), network().float(), x, y, progress=0.0), x)


def test_each_looks_for_images_in_the_mode_of_its_paper() -> None:
    modes = {kind: kind().settings()["crafting"] for kind in (PGDTraining, Trades, FGSMRandomStart)}
    assert modes == {PGDTraining: "eval", Trades: "eval", FGSMRandomStart: "train"}


def test_pgd_training_warms_up_and_its_cheap_relative_does_not_unless_told() -> None:
    early = {kind: learned_from(kind(0.2), network(), progress=0.0) for kind in (PGDTraining, FGSMRandomStart)}
    assert torch.equal(early[PGDTraining], X)
    assert not torch.equal(early[FGSMRandomStart], X)


def test_a_share_of_the_batch_stays_clean_and_it_is_the_same_whatever_the_attack_draws() -> None:
    x = torch.rand(3000, 1, 4, 4, generator=GENERATOR, dtype=torch.float64) * 0.5 + 0.25
    y, model = torch.arange(3000) % 3, network()
    found = learned_from(PGDTraining(0.1, clean=0.3, steps=1), model, x, y, key=3)
    clean = (found == x).flatten(1).all(1)
    assert stats.binomtest(int(clean.sum()), 3000, 0.3).pvalue > 1e-4
    assert torch.equal(clean, Rng(3).split("pgd_training").bernoulli(torch.tensor(0.3), 3000))
    attacked = learned_from(PGDTraining(0.1, steps=1), model, x, y, key=3)
    assert torch.equal(found[~clean], attacked[~clean])


@pytest.mark.parametrize("kind", [PGDTraining, FGSMRandomStart, Trades])
def test_the_attack_looks_at_the_network_in_the_mode_that_was_asked_for(kind: type[Regularizer]) -> None:
    eps, key, model = 0.1, 5, moody()
    judged = moody()
    if kind is Trades:  # a penalty comes after the forward pass, which has moved BatchNorm's statistics
        judged(X)
    judged.eval()
    name = "eps" if kind is Trades else "strength"
    seen: dict[str, Tensor] = {}
    real = ascent.grad
    for crafting in ("eval", "train"):
        asked: list[Tensor] = []

        def noted(score: Any, image: Tensor, asked: list[Tensor] = asked) -> Tensor:
            asked.append(real(score, image))
            return asked[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ascent, "grad", noted)
            objective = Objective(model, [kind(**{name: eps, "crafting": crafting, "steps": 1})]).train()
            objective(X, Y, key)
        seen[crafting] = asked[0]
        assert all(module.training for module in model.modules())
    if kind is Trades:
        start = nearest(X + 1e-3 * Rng(key).split(kind.name).normal(*X.shape), X, eps_of(eps))
        wanted = real(lambda image: divergence(judged(X).detach(), judged(image)), start)
    else:
        start = anywhere(X, Rng(key).split(kind.name).split("start"), eps=eps_of(eps))
        wanted = real(loss_of(judged), start)
    torch.testing.assert_close(seen["eval"], wanted, rtol=1e-8, atol=1e-10)
    assert float((seen["train"] - wanted.detach()).norm()) > 0.1 * float(wanted.detach().norm())


@pytest.mark.parametrize("kind", [PGDTraining, Trades])
def test_an_attack_leaves_no_trace_in_batchnorm(kind: type[Regularizer]) -> None:
    found = []
    for members in ([], [kind(crafting="train")]):
        objective = Objective(moody(), members).train()
        objective(X, Y, 0)
        found.append({name: value.clone() for name, value in objective.network.named_buffers()})
    if kind is Trades:  # it learns from the clean images
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert int(found[1]["1.num_batches_tracked"]) == int(found[0]["1.num_batches_tracked"])


@pytest.mark.parametrize(
    ("member", "passes"),
    [
        (FGSMTraining(), 2),
        (FGSMRandomStart(), 2),
        (PGDTraining(steps=7), 8),
        (Trades(steps=7), 10),
        (Trades(steps=7, crafting="train"), 9),
    ],
    ids=lambda value: value.name if isinstance(value, Regularizer) else str(value),
)
def test_what_an_attack_costs_is_counted(member: Regularizer, passes: int) -> None:
    objective = Objective(network(), [member])
    objective(X, Y, 0)
    assert objective.passes == passes


@pytest.mark.parametrize("kind", [PGDTraining, FGSMRandomStart])
def test_an_eps_in_grey_levels_is_refused_in_linf_and_a_length_in_l2(kind: type[Regularizer]) -> None:
    with pytest.raises(UsageError, match="8/255"):
        kind(8)
    with pytest.raises(UsageError, match="8/255"):
        Trades(eps=8)
    assert float(kind(8, norm="l2").strength) == 8
    assert float(Trades(eps=8, norm="l2").eps) == 8


# TRADES.


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e3])
def test_the_divergence_is_torchs_with_its_gradients_and_precise_where_it_is_small(scale: float) -> None:
    logits = torch.randn(9, 5, generator=GENERATOR, dtype=torch.float64)
    others = logits + scale * torch.randn(9, 5, generator=GENERATOR, dtype=torch.float64)
    found, wanted = [], []
    for compute, kept in ((divergence, found), (_kl_div, wanted)):
        pair = [logits.clone().requires_grad_(), others.clone().requires_grad_()]
        value = compute(*pair)
        kept.extend([value.detach(), *torch.autograd.grad(value, pair)])
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    single = divergence(logits.float(), others.float()).double()
    exact = _kl_div(logits.float().double(), others.float().double())
    assert float((single / exact - 1).abs()) < (1e-3 if scale == 1e-3 else 1e-5)


def _kl_div(logits: Tensor, others: Tensor) -> Tensor:
    return F.kl_div(others.log_softmax(-1), logits.softmax(-1), reduction="batchmean")


def test_trades_searches_as_torchattacks_tpgd(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = pytest.importorskip("torchattacks").TPGD
    model, eps, key = network(), 0.1, 4
    noise = Rng(key).split("trades").normal(*X.shape).double()
    monkeypatch.setattr(torch, "randn_like", lambda images: noise)
    moved = theirs(model, eps=eps, alpha=2.5 * eps / 7, steps=7)(X, Y)
    _, terms = Objective(model, [Trades(6, eps=eps)])(X, Y, key)
    assert terms["trades"].item() == pytest.approx(6 * _kl_div(model(X), model(moved)).item(), rel=1e-9)
    assert terms["loss"].item() == pytest.approx(F.cross_entropy(model(X), Y).item())


def test_a_step_of_trades_is_a_step_of_arts_trainer() -> None:
    pytest.importorskip("art")
    from art.defences.trainer import AdversarialTrainerTRADESPyTorch
    from art.estimators.classification import PyTorchClassifier

    class Found:
        """An attack that has found these images."""

        def __init__(self, images: Tensor) -> None:
            self.images = images

        def generate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return self.images.numpy()

    x, eps, key, mine, yours = X.float(), 0.1, 4, network().float(), network().float()
    rng = Rng(key).split("trades")
    start, known = x + 1e-3 * rng.normal(*x.shape), mine(x).detach()
    moved = ascend(x, lambda image: divergence(known, mine(image)), start, eps=eps_of(eps), steps=7)

    optimizer = torch.optim.SGD(yours.parameters(), lr=0.5)
    classifier = PyTorchClassifier(
        yours, nn.CrossEntropyLoss(), (1, 4, 4), 3, optimizer, clip_values=(0, 1), device_type="cpu"
    )
    trainer = AdversarialTrainerTRADESPyTorch(classifier, Found(moved), beta=6.0)  # type: ignore[arg-type]
    trainer._batch_process(x.numpy(), F.one_hot(Y, 3).float().numpy())

    loss, _ = Objective(mine, [Trades(6, eps=eps)])(x, Y, key)
    loss.backward()
    before = torch.cat([value.detach().flatten() for value in mine.parameters()])
    torch.optim.SGD(mine.parameters(), lr=0.5).step()
    found, wanted = (torch.cat([v.detach().flatten() for v in model.parameters()]) for model in (mine, yours))
    assert float((found - before).norm()) > 0.01
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_learning_sees_both_sides_of_the_divergence() -> None:
    model, plain, key, eps = network(), network(), 2, 0.1
    objective = Objective(model, [Trades(3, eps=eps)])
    objective(X, Y, key)[0].backward()
    start = X + 1e-3 * Rng(key).split("trades").normal(*X.shape)
    known = plain(X).detach()
    moved = ascend(X, lambda image: divergence(known, plain(image)), start, eps=eps_of(eps), steps=7)
    (F.cross_entropy(plain(X), Y) + 3 * _kl_div(plain(X), plain(moved))).backward()
    for found, wanted in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-8, atol=1e-10)


# Early stopping on robust accuracy.


def split_of(x: Tensor, y: Tensor) -> Split:
    return Split(x, y, ("a", "b"), torch.arange(len(x)))


def with_weights(weight: Tensor) -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([-weight, weight]) / 2)
    return model


def test_the_robust_accuracy_of_a_linear_model_is_its_closed_form() -> None:
    x = torch.rand(500, 1, 1, 2, generator=GENERATOR, dtype=torch.float64) * 0.6 + 0.2
    weight, eps = torch.tensor([3.0, -2.0], dtype=torch.float64), 0.1
    score = x.flatten(1) @ weight
    y = (score + 0.3 * torch.randn(500, generator=GENERATOR, dtype=torch.float64) > 0).long()
    stands = torch.where(y == 1, score, -score) > eps * weight.abs().sum()
    found = robust_accuracy(with_weights(weight), split_of(x, y), eps, steps=5)
    assert found == stands.double().mean().item()
    assert 0.2 < found < 0.9


def test_the_robust_accuracy_does_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(40, 1, 4, 4, generator=GENERATOR, dtype=torch.float64)
    y = network()(x).argmax(-1)
    model, part = network(), Split(x, y, ("a", "b", "c"), torch.arange(40))
    whole = robust_accuracy(model, part, 0.15, steps=1)
    assert 0 < whole < 1
    starts: list[Tensor] = []
    real = ThreatModel.start
    monkeypatch.setattr(ThreatModel, "start", lambda *a: starts.append(real(*a)) or starts[-1])  # type: ignore[func-returns-value]
    robust_accuracy(model, part, 0.15, steps=1)
    monkeypatch.setattr("robustreg.regularizers.early_stopping.EVALUATION_BATCH", 7)
    assert robust_accuracy(model, part, 0.15, steps=1) == whole
    assert torch.equal(torch.cat(starts[1:]), starts[0])


def test_early_stopping_keeps_the_network_of_the_best_robust_accuracy_and_not_of_the_best_accuracy() -> None:
    x = torch.tensor([[0.6, 0.5], [0.4, 0.5], [0.7, 0.4], [0.3, 0.6]], dtype=torch.float64).reshape(4, 1, 1, 2)
    val = split_of(x, torch.tensor([1, 0, 1, 0]))
    # All are right about every image; how far it is to the boundary is another matter. The best is the second.
    epochs = [torch.tensor(pair, dtype=torch.float64) for pair in ([0.3, -1.0], [2.0, -1.9], [0.4, -1.0], [1.0, -2.0])]
    model = with_weights(epochs[0])
    stopper = EarlyStopping(2, monitor="robust", eps=0.04)
    stopper.prepare(model)
    accuracies = [0.5, 0.6, 0.7, 0.8]
    answers = []
    for weight, accuracy in zip(epochs, accuracies, strict=True):
        model.load_state_dict(with_weights(weight).state_dict())
        answers.append(stopper.after_epoch({"val_accuracy": accuracy}, model, val))
    wanted = [robust_accuracy(with_weights(weight), val, 0.04, 10) for weight in epochs]
    assert wanted[1] == max(wanted) > max(wanted[0], *wanted[2:])
    assert float(stopper.best_score) == wanted[1]
    assert answers == [False, False, False, False]
    assert stopper.after_epoch({"val_accuracy": 0.9}, model, val) is True
    kept = stopper.finish(model)
    assert torch.equal(kept[1].weight, with_weights(epochs[1])[1].weight)  # type: ignore[index]


def test_robust_early_stopping_needs_labelled_images() -> None:
    stopper = EarlyStopping(2, monitor="robust")
    stopper.prepare(network())
    empty = Split(X[:0], Y[:0], ("a", "b", "c"), Y[:0])
    for val in (None, empty, Split(X, torch.rand(12, 3), ("a", "b", "c"), torch.arange(12))):
        with pytest.raises(UsageError, match="monitor=robust needs validation images with labels"):
            stopper.after_epoch({}, network(), val)


def splits() -> Splits:
    parts = []
    for seed, count in ((1, 60), (2, 30), (3, 6)):
        x = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
        parts.append(
            Split(x, (x[:, 0, :2].sum((1, 2)) > x[:, 0, 2:].sum((1, 2))).long(), ("a", "b"), torch.arange(count))
        )
    return Splits(*parts, "halves", ("a", "b"), (1, 4, 4), "halves", 0)


def test_a_training_that_stops_on_robust_accuracy_is_resumed_bit_for_bit() -> None:
    members = [PGDTraining(0.05, steps=2), EarlyStopping(3, monitor="robust", eps=0.05, steps=3)]
    how: dict[str, Any] = {"seed": 1, "epochs": 30, "batch_size": 20, "learning_rate": 0.3}
    saved: list[Any] = []
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    whole = train(model, members, splits(), on_epoch=lambda session: saved.append(session.state_dict()), **how)
    assert 4 < len(whole.history) < 30
    stored = io.BytesIO()
    torch.save(saved[3], stored)
    stored.seek(0)
    again = train(model, members, splits(), state=torch.load(stored, weights_only=True), **how)
    assert again.history == whole.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    scores = [robust_accuracy(_with(model, state), splits().val, 0.05, 3) for state in saved]
    assert robust_accuracy(whole.model, splits().val, 0.05, 3) == max(scores)


def _with(model: nn.Module, state: dict[str, Any]) -> nn.Module:
    prefix = "network."
    weights = {name[len(prefix) :]: v for name, v in state["objective"].items() if name.startswith(prefix)}
    model.load_state_dict(weights)
    return model


# What must hold of every regularizer, at other settings than the defaults.


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        (PGDTraining, {"norm": "l2", "strength": 0.5, "steps": 3}),
        (PGDTraining, {"crafting": "train", "clean": 0.5, "steps": 2, "warmup": 0.0}),
        (FGSMRandomStart, {"norm": "l2", "strength": 0.5, "clean": 0.3}),
        (Trades, {"crafting": "train", "steps": 2, "strength": 1.0}),
        (EarlyStopping, {"monitor": "robust", "strength": 1, "steps": 2}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_laws_hold_at_other_settings(kind: type[Regularizer], knobs: dict[str, Any]) -> None:
    assert [row for row in check(kind, **knobs) if row["status"] == "failed"] == []


def test_trades_is_for_classification() -> None:
    with pytest.raises(UsageError, match="classification"):
        Objective(nn.Linear(2, 1), [Trades()], task="regression")
    loss, _ = Objective(nn.Linear(2, 1), [PGDTraining()], task="regression")(torch.rand(3, 2), torch.rand(3, 1), 0)
    assert math.isfinite(loss.item())


def test_a_subclass_must_say_what_an_attack_is() -> None:
    from robustreg.regularizers.adversarial import AdversarialTraining

    class Vague(AdversarialTraining):
        """Says nothing."""

        name = "vague"

    with pytest.raises(PluginError, match="vague"):
        Objective(network(), [Vague()])(X, Y, 0)
