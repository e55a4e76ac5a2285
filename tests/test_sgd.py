"""The optimizer's own step: torch's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robustreg.recipe import Recipe
from robustreg.sgd import SGD


def steps(kind: type[torch.optim.SGD], count: int, **settings: object) -> tuple[list[Tensor], torch.optim.SGD]:
    torch.manual_seed(0)
    tensors = [torch.randn(size, requires_grad=True) for size in ((7, 64), (5,), (3, 4))]
    optimizer = kind(tensors, lr=0.1, **settings)  # type: ignore[arg-type]
    for step in range(count):
        for at, tensor in enumerate(tensors):
            # The last one has no gradient now and then, at first neither where torch's kernel can do with that.
            missing = at == 2 and (step % 3 == 2 or (step == 0 and not settings["fused"]))
            tensor.grad = None if missing else torch.randn_like(tensor)
        optimizer.step()
    return [tensor.detach() for tensor in tensors], optimizer


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("more", [{}, {"weight_decay": 0.01}, {"maximize": True, "dampening": 0.5}])
def test_its_numbers_and_its_state_are_those_of_torch(fused, momentum, more):
    ours, optimizer = steps(SGD, 7, fused=fused, momentum=momentum, **more)
    theirs, reference = steps(torch.optim.SGD, 7, fused=fused, momentum=momentum, **more)
    assert all(map(torch.equal, ours, theirs))
    found, wanted = optimizer.state_dict()["state"], reference.state_dict()["state"]
    assert found.keys() == wanted.keys()
    for at, kept in wanted.items():
        assert found[at].keys() == kept.keys()
        assert all((found[at][key] is None) == (one is None) for key, one in kept.items())
        assert all(torch.equal(found[at][key], one) for key, one in kept.items() if one is not None)


def test_a_recipe_for_sgd_is_made_of_it():
    assert type(Recipe().build([torch.zeros(2, requires_grad=True)])) is SGD


def test_a_step_with_a_closure_hooks_or_scaled_gradients_is_torchs_own():
    found = []
    for kind in (SGD, torch.optim.SGD):
        weight = torch.nn.Parameter(torch.ones(4))
        optimizer, seen = kind([weight], lr=0.1, fused=True), []
        optimizer.register_step_pre_hook(lambda *_, seen=seen: seen.append("before"))
        optimizer.register_step_post_hook(lambda *_, seen=seen: seen.append("after"))

        def closure(weight=weight, optimizer=optimizer):
            optimizer.zero_grad()
            loss = weight.square().sum()
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale(weight.sum()).backward()
        scaler.step(optimizer)
        found.append((float(loss), weight.tolist(), seen))
    assert found[0] == found[1]
    assert found[0][2] == ["before", "after"] * 2


def test_scaled_gradients_are_scaled_back():
    weight = torch.nn.Parameter(torch.ones(4))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(weight.sum()).backward()
    scaler.step(SGD([weight], lr=0.1, fused=True))
    assert torch.allclose(weight, torch.tensor(0.9))
