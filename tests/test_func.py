"""`robustreg.func`: what torch.func says, with and without torch's private names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustreg import func


@pytest.fixture(params=[True, False], ids=["lean", "torch's own"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert func.LEAN, "this torch lacks a name; the other way alone would be tested"
    monkeypatch.setattr(func, "LEAN", request.param)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


def test_vmap_takes_and_returns_tensors_in_dicts_and_tuples() -> None:
    x, named = _random(3, 4), {"a": _random(3, 4, 2), "b": _random(3, 2)}

    def one(x: Tensor, named: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return x.sum(), {"y": x @ named["a"] + named["b"], "same": torch.ones(2)}

    total, found = func.vmap(one, 3, x, named)
    assert torch.allclose(total, x.sum(1))
    assert torch.allclose(found["y"], torch.einsum("ki,kij->kj", x, named["a"]) + named["b"])
    assert found["same"].shape == (3, 2)  # what is the same for all is given for each


def test_what_is_no_tensor_is_refused() -> None:
    with pytest.raises((TypeError, ValueError), match="ensors"):
        func.vmap(lambda row: 0.5, 3, _random(3, 4))


def test_gradients_flow_through_vmap() -> None:
    x = _random(3, 4).requires_grad_()
    func.vmap(lambda row: (row**2).sum(), 3, x).sum().backward()
    assert torch.equal(x.grad, 2 * x)  # type: ignore[arg-type]


def test_after_an_error_inside_vmap_and_grad_all_is_as_before() -> None:
    def broken(*_: Any) -> Tensor:
        raise ValueError("a plugin")

    for _ in range(2):
        with pytest.raises(ValueError, match="a plugin"):
            func.vmap(lambda row: func.grad(broken, row), 3, _random(3, 4))
    assert torch._C._functorch.peek_interpreter_stack() is None
    with pytest.raises(RuntimeError):
        func.vmap(lambda row: row + torch.rand(()), 3, _random(3, 4))  # randomness that is not keyed


def test_grad_is_the_derivative_and_a_constant() -> None:
    x, y = _random(4).requires_grad_(), _random(4).requires_grad_()
    found = func.grad(lambda at: (at**3 * y).sum(), x)
    assert torch.allclose(found, 3 * x**2 * y)
    assert not found.requires_grad
    with torch.no_grad():
        assert torch.equal(func.grad(lambda at: (at**3 * y).sum(), x), found)
    assert torch.equal(func.grad(lambda at: torch.ones((), dtype=at.dtype), x), torch.zeros_like(x))
    assert torch.equal(func.grad(lambda at: y.sum(), x), torch.zeros_like(x))  # depends on another tensor alone


def test_grad_and_vmap_go_into_one_another() -> None:
    x = _random(3, 4)
    assert torch.allclose(func.vmap(lambda row: func.grad(lambda at: at.prod(), row), 3, x), x.prod(1, True) / x)
    twice = func.grad(lambda at: torch.func.vmap(torch.func.grad(lambda v: (v**3).sum()))(at).sum(), x)
    assert torch.allclose(twice, 6 * x)
