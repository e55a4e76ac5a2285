"""Chains: what many networks say in one call is what each says, and what they learn so is what they would learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustreg import layers
from robustreg.chain import Layer, bound, by_class, learning_chain, through
from robustreg.cohort import Member, forward, train_cohort
from robustreg.data import load_data
from robustreg.inference import scores
from robustreg.layers import Normalize
from robustreg.recipe import Recipe
from robustreg.regularizers import L1, Dropout, FGSMTraining, InputNoise, LabelSmoothing

DIGITS = load_data("digits", seed=0, train=120, val=40, test=20)
RUNS = 3


def net(*middle: nn.Module, bias: bool = True) -> nn.Sequential:
    first = nn.Sequential(Normalize(0.3, 0.5), nn.Flatten(), nn.Linear(64, 16, bias=bias))
    return nn.Sequential(first, *(middle or (nn.ReLU(),)), nn.Linear(16, 10))


def stacked(networks: list[nn.Sequential]) -> dict[str, torch.Tensor]:
    return torch.func.stack_module_state(networks)[0] | torch.func.stack_module_state(networks)[1]


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_each_network(bias):
    networks = [net(nn.GELU(), nn.Identity(), bias=bias).double() for _ in range(RUNS)]
    tensors, x = stacked(networks), torch.rand(RUNS, 5, 1, 8, 8, dtype=torch.float64)
    chain = learning_chain(networks[0], tensors)
    assert chain is not None
    said = through(bound(chain, tensors), x)
    said.square().sum().backward()
    for at, (network, images) in enumerate(zip(networks, x, strict=True)):
        torch.testing.assert_close(said[at], network(images))
        network(images).square().sum().backward()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(tensors[name].grad[at], parameter.grad)


def test_a_relu_in_place_touches_nothing_but_what_the_chain_has_made():
    networks = [nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(64, 10), nn.ReLU()) for _ in range(RUNS)]
    tensors, x = stacked(networks), torch.randn(RUNS, 5, 1, 8, 8)
    kept, layers_now = x.clone(), bound(learning_chain(networks[0], tensors) or [], tensors)
    with torch.no_grad():
        said = through(layers_now, x)
    assert torch.equal(x, kept)
    torch.testing.assert_close(said, torch.stack([one(part) for one, part in zip(networks, x, strict=True)]))


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.insert(1, nn.Dropout(0.5)),
        lambda one: one.insert(1, layers.Dropout(0.5)),
        lambda one: one.insert(1, nn.BatchNorm1d(16)),
        lambda one: one[2].register_forward_hook(lambda *_: None),
        lambda one: one[2].register_forward_pre_hook(lambda *_: None),
        lambda one: setattr(one[2], "forward", nn.Linear(16, 10).forward),
        lambda one: one[2].add_module("more", nn.Identity()),
        lambda one: one[0].register_forward_pre_hook(lambda _, given: (given[0] * 0.1,)),
        lambda one: one.register_forward_pre_hook(lambda _, given: (given[0] * 0.1,)),
        lambda one: one[0].register_forward_hook(lambda *_: None),
    ],
    ids=[
        "dropout",
        "keyed dropout",
        "batchnorm",
        "hook",
        "pre-hook",
        "own forward",
        "child",
        "pre-hook of a part",
        "pre-hook of all",
        "hook of a part",
    ],
)
def test_what_draws_noise_or_does_something_unknown_is_no_chain_to_learn_in(change):
    networks = [net() for _ in range(RUNS)]
    assert learning_chain(networks[0], stacked(networks)) is not None
    for one in networks:
        change(one)
    assert learning_chain(networks[0], stacked(networks)) is None


def test_layers_that_act_for_all_must_be_equal_in_all():
    networks = [net() for _ in range(RUNS)]
    networks[1][0][0].mean += 0.1
    assert learning_chain(networks[0], stacked(networks)) is None


KINDS = {
    "none": [],
    "penalty": [L1(1e-3)],
    "batch": [InputNoise(0.1), LabelSmoothing(0.1)],
    "network": [FGSMTraining(0.1), L1(1e-3)],
    "dropout": [Dropout(0.5)],
}


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_a_stack_learns_as_a_chain_what_it_learns_inside_vmap(kinds, monkeypatch):
    def trained() -> list[torch.Tensor]:
        torch.manual_seed(0)
        members = [Member(net(), kinds, DIGITS, seed) for seed in range(RUNS)]
        runs = train_cohort(members, recipe=Recipe(epochs=3, batch_size=32), together=True)
        assert {run.cohort for run in runs} == {RUNS}
        rows = [torch.tensor([list(row.values()) for row in run.history]).double() for run in runs]
        return [nn.utils.parameters_to_vector(run.model.parameters()) for run in runs] + rows

    calls: list[bool] = []
    chained = forward.learning_chain

    def spied(*given: object) -> object:
        found = chained(*given)  # type: ignore[arg-type]
        calls.append(found is not None)
        return found

    monkeypatch.setattr(forward, "learning_chain", spied)
    first = trained()
    assert calls and set(calls) == {not any(isinstance(one, Dropout) for one in kinds)}
    monkeypatch.setattr(forward, "learning_chain", lambda *_: None)
    for one, other in zip(first, trained(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(40,), (3, 40)])
def test_scores_are_those_of_argmax_and_logsumexp_also_where_logits_are_equal(shape):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randint(-2, 3, (*shape, 6), generator=generator).double()  # full of ties
    outputs[..., :3, :] = 0.0
    outputs[..., 3, 1:4] = torch.inf
    y = torch.randint(0, 6, shape, generator=generator)
    seen = scores(outputs, y, "classification")
    wanted = -outputs.log_softmax(-1).gather(-1, y.unsqueeze(-1)).squeeze(-1)
    finite = [at for at in range(shape[-1]) if at != 3]
    torch.testing.assert_close(scores(outputs[..., finite, :], y[..., finite], "classification")["nll"],
                               wanted[..., finite].mean(-1))  # fmt: skip
    assert torch.equal(seen["accuracy"], (outputs.argmax(-1) == y).float().mean(-1))


def test_a_network_that_says_nan_is_right_about_nothing():
    seen = scores(torch.full((4, 3), torch.nan), torch.zeros(4, dtype=torch.int64), "classification")
    assert float(seen["accuracy"]) == 0
    assert torch.isnan(seen["nll"])


@pytest.mark.parametrize("bias", [True, False])
def test_the_derivatives_of_wide_layers_are_those_of_torch_and_lie_as_the_weights_do(bias, monkeypatch):
    monkeypatch.setattr("robustreg.chain.NARROW", 2)
    monkeypatch.setattr("robustreg.chain.MANY", 1)
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    x, weight, biases = draw(3, 5, 4), draw(3, 2, 4), draw(3, 2)

    def said(x: torch.Tensor, weight: torch.Tensor, biases: torch.Tensor) -> torch.Tensor:
        return through([Layer(None, weight.transpose(1, 2), biases.unsqueeze(1) if bias else None)], x)

    inputs = (x, weight, biases)
    assert "_Linear" in type(said(*inputs).grad_fn).__name__
    assert torch.autograd.gradcheck(said, inputs)
    assert torch.autograd.gradgradcheck(said, inputs)
    said(*inputs).square().sum().backward()
    assert weight.grad.is_contiguous()
    wanted = torch.einsum("kbi,koi->kbo", x, weight) + (biases.unsqueeze(1) if bias else 0)
    torch.testing.assert_close(weight.grad, torch.autograd.grad(wanted.square().sum(), weight)[0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("last", [nn.Linear, nn.Identity])
def test_what_is_said_by_class_is_what_is_said_row_by_row(bias, last):
    networks = [net(bias=bias).append(nn.Linear(10, 3) if last is nn.Linear else last()) for _ in range(RUNS)]
    tensors, x = stacked(networks), torch.rand(RUNS, 5, 1, 8, 8)
    layers_now = bound(learning_chain(networks[0], tensors) or [], tensors)
    with torch.no_grad():
        torch.testing.assert_close(by_class(layers_now, x), through(layers_now, x).transpose(1, 2))
