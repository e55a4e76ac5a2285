"""Models wrapped so that gradients tell the truth: through steps without a derivative, and through randomness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..noise import Key, fold, seed_key


class StraightThrough(nn.Module):
    """A function as it is going forward, and another one's derivative going backward; see `straight_through`."""

    def __init__(self, function: Callable[[Tensor], Tensor], backward: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.function = function
        self.backward = backward

    def forward(self, x: Tensor) -> Tensor:
        """Return exactly `function(x)`."""
        with torch.no_grad():
            value = self.function(x)
        soft = x if self.backward is None else self.backward(x)
        if soft.shape != value.shape:
            raise UsageError(
                f"straight_through got {tuple(value.shape)} from {tuple(x.shape)}, and {tuple(soft.shape)} to take the "
                "derivative of; give it `backward`, a differentiable function to the same shape"
            )
        return value + (soft - soft.detach())  # plus exactly 0


def straight_through(
    function: Callable[[Tensor], Tensor], backward: Callable[[Tensor], Tensor] | None = None
) -> StraightThrough:
    """Return `function` as a module with the derivative of `backward`, by default of the identity.

    For defences that round, squeeze or compress their input: `nn.Sequential(straight_through(squeeze), network)` says
    what `nn.Sequential(squeeze, network)` says, and has gradients. What breaks it breaks the original.

    Args:
        function: from a tensor to a tensor: preprocessing, or a whole model. A module's parameters get no gradient.
        backward: a differentiable function close to `function`, to the same shape.

    Raises:
        UsageError: when called, if the two do not have the same shape.

    Athalye et al, Obfuscated gradients give a false sense of security, 2018 (backward pass differentiable
    approximation).
    """
    return StraightThrough(function, backward)


class Averaged(nn.Module):
    """The mean of several forward passes of a random model; see `averaged`."""

    calls: Tensor

    def __init__(self, model: nn.Module, samples: int, key: Key) -> None:
        super().__init__()
        self.model = model
        self.samples = samples
        self.key = key
        # A buffer: an attack restores it, so that the same attack draws the same noise again.
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over `samples` passes of new noise."""
        key = fold(self.key, int(self.calls))
        self.calls += 1
        draws = []
        with _seeded(x.device) as seed:
            for number in range(self.samples):
                seed(int(fold(key, number)))
                draws.append(self.model(x))
        return torch.stack(draws).mean(0)


def averaged(model: nn.Module, samples: int = 16, seed: int = 0) -> Averaged:
    """Return a model whose logits are the mean over `samples` forward passes of a random `model`.

    Its gradients are those of the expectation over the noise, estimated with `samples` draws, new ones in each call.
    The noise is that of torch's generators, seeded by (seed, call, draw) and restored afterwards. An attack on a model
    that is random in evaluation mode is led by single draws: attack `averaged(model)`, or give it to `transfer` as the
    surrogate, and judge by the mean over draws.

    Args:
        model: from `(n, *shape)` to `(n, classes)` logits, random in evaluation mode.
        samples: passes of each call.
        seed: decides the noise.

    Raises:
        UsageError: for fewer than 1 sample.

    Athalye et al, Synthesizing robust adversarial examples, 2018 (expectation over transformation).
    """
    if samples < 1:
        raise UsageError(f"samples must be at least 1, got {samples}")
    return Averaged(model, samples, fold(seed_key(seed), "averaged"))


@contextmanager
def _seeded(device: torch.device) -> Iterator[Callable[[int], object]]:
    """Yield a function that seeds torch's generators of the CPU and `device`, and restore them afterwards."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    states = [generator.get_state() for generator in generators]

    def seed(value: int) -> None:
        for generator in generators:
            generator.manual_seed(value)

    try:
        yield seed
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
