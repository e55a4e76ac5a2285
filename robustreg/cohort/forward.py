"""What the networks of a stack say and lose, all of them in one call.

Any objective is called through `vmap`, with slices of the stack's tensors. Where the network is a chain of layers, only
the hooks are, and it goes through batched matrix products itself: `vmap` makes them smaller ones, at some cost each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..chain import bound, by_class, learning_chain, through
from ..func import vmap
from ..objective import BASE_TERM, Objective
from .likeness import Unlike

NETWORK = "network."  # what the objective calls its network's tensors
Slot = tuple[dict[str, Any], str, str]  # where a tensor stands, or may: by which key in what, and its name


class Forward:
    """Calls an objective for many runs at once.

    Args:
        worker: the objective of one of them, for its code.
        state: `(runs, ...)` values of all tensors of the objective, by name.
    """

    def __init__(self, worker: Objective, state: dict[str, Tensor]) -> None:
        self._worker = worker
        self._slots, self._looked_at = _slots(worker), _slots(worker.network)
        tied = sum(bool(name) for _, _, name in self._slots) > len(state)
        plain = not tied and not worker.has("weights")
        self._learning = learning_chain(worker.network, network_of(state)) if plain else None

    @property
    def chained(self) -> bool:
        """Whether the network is called without `vmap`."""
        return self._learning is not None

    def losses(
        self, state: dict[str, Tensor], x: Tensor, y: Tensor, keys: Tensor, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what `Objective` returns, for each run: losses and their terms, `(runs,)` each.

        Args:
            state: the tensors, with a first dimension of runs.
            x: images `(runs, batch, ...)`.
            y: rows or targets `(runs, batch, ...)`.
            keys: the randomness of the step, int64 `(runs,)`.
            progress: share of training that is done.
        """
        if self._learning is None:
            return self.each("forward", state, x, y, keys, progress=progress)
        if self._worker.has("batch"):
            x, y = self.each("learned_from", state, x, y, keys, progress=progress)
        logits = through(bound(self._learning, network_of(state)), x)
        self._worker.passes += 1
        loss = self._worker.base_losses(logits, y)
        terms = {BASE_TERM: loss}
        if self._worker.has("penalty"):
            terms |= self.each("penalties", state, x, y, logits, keys, progress=progress)
            loss = torch.stack([*terms.values()]).sum(0)
        return loss, terms

    def each(self, method: str, state: dict[str, Tensor], *rows: Any, **shared: Any) -> Any:
        """Return what a method of the objective returns for each run, given a row of each argument."""

        def one(*given: Any) -> Any:
            with _standing_in(self._slots, dict(zip(state, given, strict=False))):
                return getattr(self._worker, method)(*given[len(state) :], **shared)

        return vmap(one, len(rows[-1]), *state.values(), *rows)

    def outputs(self, state: dict[str, Tensor], images: Iterable[Tensor]) -> Tensor:
        """Return `(runs, n, outputs)` of the networks in evaluation mode; nothing is changed.

        Args:
            state: as above.
            images: parts of all images, `(runs, some, ...)` each.
        """
        network, own = self._worker.network.eval(), network_of(state)
        with torch.no_grad():
            if self._learning is not None:
                layers = bound(self._learning, own)
                return torch.cat([by_class(layers, x) for x in images], 2).transpose(1, 2)
            own |= {name: own[name].clone() for name, _ in network.named_buffers()}  # a forward pass may change them

            def one(tensors: dict[str, Tensor], x: Tensor) -> Tensor:
                with _standing_in(self._looked_at, tensors, kept=False):
                    return network(x)

            return torch.cat([vmap(one, len(x), own, x) for x in images], 1)


@contextmanager
def _standing_in(slots: Sequence[Slot], tensors: Mapping[str, Tensor], kept: bool = True) -> Iterator[None]:
    """Put tensors in their slots. What functional_call does; but the slots of one module are found only once.

    What is `kept` of a buffer is what was written on it: what was put in its place is lost, and an error.
    """
    before = [home[key] for home, key, _ in slots]
    given = [tensors.get(name) for _, _, name in slots]
    for (home, key, _), tensor in zip(slots, given, strict=True):
        home[key] = tensor
    try:
        yield
        for (home, key, _), tensor in zip(slots, given, strict=True):
            if kept and home[key] is not tensor:
                raise Unlike(f"a forward pass or a hook replaces the buffer {key!r}; write on it in place instead")
    finally:
        for (home, key, _), tensor in zip(slots, before, strict=True):
            home[key] = tensor


def _slots(module: nn.Module) -> list[Slot]:
    """Where the tensors of a module stand, and by which name of it each goes: one place after the other."""
    named = {id(tensor): name for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    homes = [home for one in module.modules() for home in (one._parameters, one._buffers)]
    return [(home, key, named.get(id(one), "")) for home in homes for key, one in home.items()]


def network_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the network among those of an objective, by the names it has for them."""
    return {name[len(NETWORK) :]: value for name, value in state.items() if name.startswith(NETWORK)}
