"""The plugin keeps the laws of robustreg, and computes what its papers say."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from robustreg_noise import (
    DropConnect,
    FocalLoss,
    GeneralizedCrossEntropy,
    RDrop,
    StochasticDepth,
    WeightNoise,
    branches,
    focal,
    generalized_cross_entropy,
    regularizers,
    symmetric_divergence,
)
from scipy import special, stats
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from robustreg import Objective, Regularizer, models, testing
from robustreg.layers import Dropout as DropoutLayer
from robustreg.layers import keyed
from robustreg.noise import Rng
from robustreg.regularizers import Dropout, FGSMTraining, Mixup
from robustreg.testing import bench, cohorts, laws
from robustreg.testing.bench import Bench, batch, network
from robustreg.testing.cohorts import batches_are_exact, compare, trained

TEAMS = [*((Mixup, Dropout, FGSMTraining, kind) for kind in regularizers()), *combinations(regularizers(), 2)]


@pytest.mark.parametrize("kind", regularizers(), ids=lambda kind: kind.name)
def test_it_keeps_the_laws(kind: type[Regularizer]) -> None:
    """No law of `robustreg.testing` is broken."""
    assert [row for row in testing.check(kind) if row["status"] == "failed"] == []


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: "+".join(one.name for one in team))
def test_it_gets_on_with_others(team: tuple[type[Regularizer], ...]) -> None:
    """Beside one another, and beside built-in ones, runs that train together end where they end alone."""
    together, alone = trained([Bench(kind, {}) for kind in team], runs=2)
    compare(together, alone, exact=batches_are_exact(*team))


def residual(seed: int = 0, *, normalized: bool = True, noisy: bool = True) -> nn.Module:
    """Return a network of the bench's kind with two residual blocks."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norm = nn.BatchNorm2d if normalized else lambda channels: nn.Conv2d(channels, channels, 1)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            BasicBlock(4, 4, norm_layer=norm),
            BasicBlock(4, 4, norm_layer=norm),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            DropoutLayer(0.2) if noisy else nn.Identity(),
            nn.Linear(16, bench.OUTPUTS),
        )


@pytest.mark.parametrize("each", ["image", "batch"])
def test_stochastic_depth_keeps_the_laws_in_a_network_that_has_depth(
    each: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laws are tried on a network without residual blocks; here they are tried on one with them."""
    for module in (bench, laws, cohorts):
        monkeypatch.setattr(module, "network", residual)
    rows = testing.check(StochasticDepth, strength=0.5, each=each)
    assert [row for row in rows if row["status"] == "failed"] == []


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (models.resnet18((3, 8, 8), 4), 8),
        (models.preact_resnet18((3, 8, 8), 4, width=4), 8),
        (torchvision.models.resnet50(), 16),
        (network(), 0),
    ],
    ids=["resnet18", "preact_resnet18", "resnet50", "none"],
)
def test_the_branches_of_residual_networks_are_found(model: nn.Module, count: int) -> None:
    """As many as the papers count, each with a skip of its share of the strength behind it."""
    ends = list(branches(model))
    assert len({id(one) for one in ends}) == len(ends) == count
    prepared = Objective(model, [StochasticDepth(0.4)]).network
    skips = [float(module.p) for name, module in prepared.named_modules() if name.endswith("skip")]
    assert skips == pytest.approx([0.4 * (at + 1) / count for at in range(count)])


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_skipped_branch_leaves_the_path_around_it(block: Any) -> None:
    """An image comes out as torchvision's layer lets it: the path alone, or with 1 / (1 - p) times the branch."""
    torch.manual_seed(1)
    channels = 2 * block.expansion
    plain = block(channels, 2, norm_layer=lambda width: nn.Identity()).eval()
    x = torch.rand(400, channels, 3, 3)
    seen: list[Tensor] = []
    end = next(iter(branches(nn.Sequential(plain))))
    handle = end.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    whole = plain(x)
    handle.remove()
    with_branch, without = (x + seen[0] / 0.7).relu(), x.relu()
    torch.manual_seed(0)
    theirs = torchvision.ops.stochastic_depth(seen[0], 0.3, "row")
    assert ((x + theirs).relu() - with_branch).flatten(1).abs().amax(1).min() < 1e-6  # the same scale
    objective = Objective(nn.Sequential(plain), [StochasticDepth(0.3)])
    assert torch.equal(objective.eval().network(x), whole)
    with keyed(objective.train().network, 3):
        found = objective.network(x)
    left_out = (found - without).flatten(1).abs().amax(1) < 1e-6
    kept = (found - with_branch).flatten(1).abs().amax(1) < 1e-5
    assert (left_out ^ kept).all()
    assert stats.binomtest(int(left_out.sum()), 400, 0.3).pvalue > 0.001


def test_a_branch_can_be_left_out_for_the_whole_batch() -> None:
    """With each=batch all images of a pass share the draw, and passes with other keys do not."""
    objective = Objective(residual(noisy=False), [StochasticDepth(0.9, each="batch")])
    skip: Any = objective.network[1].bn2.skip  # type: ignore[index]
    drawn = []
    for key in range(20):
        with keyed(objective.network, key):
            drawn.append(skip(torch.ones(50, 4, 2, 2)).unique())
    assert {len(values) for values in drawn} == {1}
    torch.testing.assert_close(torch.cat(drawn).unique(), torch.tensor([0, 1 / 0.55]))


def moved(member: Regularizer, key: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights of a network before and after the `weights` hook of a regularizer."""
    params = {
        "conv.weight": torch.ones(8, 8, 3, 3),
        "linear.weight": torch.full((100, 200), 2.0),
        "last.weight": torch.full((100, 200), 2.0),
        "bias": torch.ones(100),
    }
    found = member.weights(params, rng=Rng(key))  # type: ignore[operator]
    return params, {**params, **found}


def test_dropconnect_drops_single_weights_of_linear_layers() -> None:
    """Zeros with the right frequency, the rest scaled so that the mean stays; other tensors are left alone."""
    before, after = moved(DropConnect(0.3))
    for name in ("conv.weight", "bias"):
        assert after[name] is before[name]
    dropped = after["linear.weight"] == 0
    assert stats.binomtest(int(dropped.sum()), 20000, 0.3).pvalue > 0.001
    torch.testing.assert_close(after["linear.weight"][~dropped], torch.full((int((~dropped).sum()),), 2 / 0.7))
    assert not torch.equal(dropped, after["last.weight"] == 0)
    assert not torch.equal(dropped, moved(DropConnect(0.3), 1)[1]["linear.weight"] == 0)


def test_a_dropped_weight_gets_no_gradient() -> None:
    """The gradient of the loss is masked and scaled as the weights are."""
    model, (x, y) = network(noisy=False), batch("classification")
    Objective(model, [DropConnect(0.5)])(x, y, 0)[0].backward()
    last = model[-1].weight  # type: ignore[index]
    mask = Rng(0).split("weights").split("dropconnect").split("7.weight").bernoulli(0.5, *last.shape)
    assert 0 < mask.sum() < mask.numel()
    assert torch.equal(last.grad != 0, mask)


def test_weight_noise_is_normal_and_leaves_biases_alone() -> None:
    """SciPy's test of normality, with the strength as standard deviation."""
    before, after = moved(WeightNoise(0.1))
    assert after["bias"] is before["bias"]
    for name in ("conv.weight", "linear.weight"):
        noise = (after[name] - before[name]).flatten().numpy()
        assert stats.kstest(noise / 0.1, "norm").pvalue > 0.001


def test_the_symmetric_divergence_is_the_mean_of_both() -> None:
    """SciPy's relative entropy is the oracle."""
    first, second = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p, q = (special.softmax(one.numpy(), axis=1) for one in (first, second))
    wanted = np.mean(stats.entropy(p, q, axis=1) + stats.entropy(q, p, axis=1)) / 2
    assert symmetric_divergence(first, second).item() == pytest.approx(wanted)


def test_r_drop_compares_two_passes_with_other_dropout() -> None:
    """Two passes by hand, each with its own key of the dropout layer, are the oracle."""
    model, (x, y) = network(normalized=False), batch("classification")
    objective = Objective(model, [RDrop(0.5)]).train()
    _, terms = objective(x, y, 5)
    logits = []
    for rng in (Rng(5).split("network"), Rng(5).split("r_drop")):
        model[6].key = rng.split("6").key  # type: ignore[index]
        logits.append(model(x))
    wanted = 0.5 * symmetric_divergence(*logits).item()
    assert wanted > 1e-4
    assert terms["r_drop"].item() == pytest.approx(wanted, rel=1e-4)


def test_r_drop_sends_gradients_through_both_passes_and_needs_noise() -> None:
    """Autograd of the divergence by hand is the oracle; without noise in the network the term is 0."""
    model, (x, y) = network(normalized=False), batch("classification")
    _, terms = Objective(model, [RDrop()]).train()(x, y, 5)
    found = torch.autograd.grad(terms["r_drop"], list(model.parameters()))
    logits = []
    for rng in (Rng(5).split("network"), Rng(5).split("r_drop")):
        model[6].key = rng.split("6").key  # type: ignore[index]
        logits.append(model(x))
    wanted = torch.autograd.grad(symmetric_divergence(*logits), list(model.parameters()))
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, other)
    quiet = Objective(network(normalized=False, noisy=False), [RDrop()]).train()
    assert quiet(x, y, 5)[1]["r_drop"].item() == 0


def rows(count: int = 6) -> tuple[Tensor, Tensor]:
    """Return random float64 logits `(count, 4)` and one-hot labels."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return logits, F.one_hot(torch.randint(4, (count,), generator=generator), 4).double()


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_gce_is_its_formula(q: float) -> None:
    """(1 - p**q) / q in NumPy is the oracle, for the function and for the loss of the objective."""
    logits, y = rows()
    p = (special.softmax(logits.numpy(), axis=1) * y.numpy()).sum(1)
    wanted = np.mean((1 - p**q) / q)
    assert generalized_cross_entropy(logits, y, torch.tensor(q)).item() == pytest.approx(wanted)
    loss, _ = Objective(nn.Identity(), [GeneralizedCrossEntropy(q)])(logits, y, 0)
    assert loss.item() == pytest.approx(wanted)


def test_gce_goes_from_cross_entropy_to_weights_of_p_to_the_q() -> None:
    """At q = 0 it is torch's cross-entropy; an image's gradient is p**q times that of the cross-entropy."""
    logits, y = rows(1)
    logits.requires_grad_()
    plain = F.cross_entropy(logits, y)
    assert generalized_cross_entropy(logits, y, torch.tensor(0.0)).item() == pytest.approx(plain.item())
    assert generalized_cross_entropy(logits, y, torch.tensor(1e-6)).item() == pytest.approx(plain.item(), rel=1e-4)
    (wanted,) = torch.autograd.grad(plain, logits, retain_graph=True)
    (found,) = torch.autograd.grad(generalized_cross_entropy(logits, y, torch.tensor(0.7)), logits)
    torch.testing.assert_close(found, wanted * (-plain).exp() ** 0.7)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_torchvisions_for_two_classes(gamma: float) -> None:
    """A softmax over logits 0 and z is a sigmoid of z: torchvision's focal loss is the oracle."""
    z = torch.linspace(-6, 6, 25, dtype=torch.float64)
    label = (torch.arange(25) % 3 == 0).long()
    logits = torch.stack((torch.zeros_like(z), z), 1)
    wanted = torchvision.ops.sigmoid_focal_loss(z, label.double(), alpha=-1, gamma=gamma, reduction="mean")
    loss, _ = Objective(nn.Identity(), [FocalLoss(gamma)])(logits, label, 0)
    assert loss.item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_loss_is_finite_where_the_network_is_certain(gamma: float) -> None:
    """Value and gradient at probabilities that float32 rounds to 0 and 1, right and wrong."""
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    value = focal(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor(gamma))
    value.backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and torch.isfinite(value)
