"""The laws of cohorts: runs that are trained together are the runs they would be alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..cohort import Member, train_cohort
from ..hookspecs import hookimpl
from ..noise import Rng
from ..recipe import Recipe
from ..regularizer import Regularizer
from ..session import Run
from .bench import FACTORS, Bench, Broken, Watcher, batch, data, distance, network, same, step_key

TOLERANCE = 1e-6  # relative, in float32
CLOSE = 1e-9  # relative, in float64, after all steps
RECIPE = Recipe(epochs=17, batch_size=8, learning_rate=0.02)  # 51 steps


def vectorized_equals_solo(bench: Bench) -> str:
    """Runs computed together by `vmap` have the losses, gradients and noise of the same runs alone."""
    watched = [[bench.scaled(factor), Watcher()] for factor in FACTORS]
    runs = [bench.objective(members, network(seed)) for seed, members in enumerate(watched)]
    keys = [step_key(run) for run in range(len(runs))]
    batches = [batch(bench.task, seed=run) for run in range(len(runs))]
    x, y = (torch.stack(part) for part in zip(*batches, strict=True))
    params, buffers = torch.func.stack_module_state(runs)
    worker = copy.deepcopy(runs[0])
    watcher: Any = worker.regularizers["watcher"]

    def one(params: Any, buffers: Any, x: Tensor, y: Tensor, key: Tensor) -> Any:
        loss, terms = torch.func.functional_call(worker, (params, buffers), (x, y, key))
        return loss, terms, watcher.seen["x"], watcher.seen["y"]

    try:
        together = torch.vmap(one)(params, buffers, x, y, torch.tensor(keys, dtype=torch.int64))
    except Exception as error:
        raise Broken(
            f"it does not run inside torch.vmap: {error}; in batch and penalty no .item(), no `if` on a tensor, no "
            "in-place edits, randomness only from rng, gradients only through torch.func"
        ) from error
    together[0].sum().backward()
    # What is computed without the network is the same arithmetic, and equal to the last bit.
    exact = batches_are_exact(bench.kind)
    for index, objective in enumerate(runs):
        loss, terms = objective(*batches[index], keys[index])
        loss.backward()
        seen: Any = objective.regularizers["watcher"]
        for name, found in (("x", together[2][index]), ("y", together[3][index])):
            wanted = seen.seen[name]
            if not (same(found, wanted) if exact else distance(found, wanted) <= TOLERANCE):
                raise Broken(f"in run {index} batch() gave another {name} than alone; draw from rng, once a batch")
        for name, term in terms.items():
            if distance(together[1][name][index], term) > TOLERANCE:
                raise Broken(f"in run {index} {name} is {together[1][name][index].item()}, alone {term.item()}")
        _same_gradients(index, objective, params)
        for name, wanted in objective.named_buffers():
            if distance(buffers[name][index].double().nan_to_num(), wanted.double().nan_to_num()) > TOLERANCE:
                raise Broken(f"in run {index} the buffer {name} differs from the one alone")
    return f"{len(runs)} runs with other weights, knobs and noise: equal batches, losses and gradients"


def _same_gradients(index: int, objective: nn.Module, params: dict[str, Tensor]) -> None:
    own = {name: value for name, value in objective.named_parameters() if value.grad is not None}
    wanted = torch.cat([value.grad.flatten() for value in own.values() if value.grad is not None])
    stacked = [params[name].grad for name in own]
    if any(value is None for value in stacked):
        raise Broken(f"in run {index} some parameters get no gradient")
    found = torch.cat([value[index].flatten() for value in stacked if value is not None])
    if (off := distance(found, wanted)) > TOLERANCE:
        raise Broken(f"in run {index} the gradient differs by {off:.1e} from the one alone")


def cohort_equals_solo(bench: Bench) -> str:
    """Runs trained as a cohort have the noise they have alone, and but for rounding the weights, state and history.

    Looked at after 51 steps in float64, where rounding is too small to hide anything else.
    """
    together, alone = trained([bench])
    return compare(together, alone, exact=batches_are_exact(bench.kind))


def compare(together: Sequence[Run], alone: Sequence[Run], *, exact: bool) -> str:
    """Return what was seen, or raise `Broken`, for runs of `trained`; `exact` when batches must have equal bits."""
    for index, (run, wanted) in enumerate(zip(together, alone, strict=True)):
        if run.cohort == 1:
            why = together[0].note or "runs differ in a plain Python value; keep what they may differ in in tensors"
            raise Broken(f"in run {index} it cannot be trained in a cohort: {why}")
        if (run.status, len(run.history)) != (wanted.status, len(wanted.history)):
            found, own = (f"{one.status} after {len(one.history)} epochs" for one in (run, wanted))
            raise Broken(f"run {index} was {found} in a cohort, and {own} alone")
        if run.gradient_passes != wanted.gradient_passes:
            raise Broken(f"run {index} counts {run.gradient_passes} passes in a cohort, {wanted.gradient_passes} alone")
        state = wanted.model.state_dict()
        for name, value in run.model.state_dict().items():
            if distance(value.double(), state[name].double()) > CLOSE:
                raise Broken(f"in run {index} the trained {name} differs from the one alone")
        for row, own_row in zip(run.history, wanted.history, strict=True):
            for name, number in own_row.items():
                if abs(row[name] - number) > 1e-6 * max(1.0, abs(number)):
                    raise Broken(f"in run {index}, epoch {row['epoch']}, {name} is {row[name]} and alone {number}")
        ledger, own_ledger = (vars(one.model)["ledger"] for one in (run, wanted))
        for name in ("drawn", "seen") if exact else ("drawn",):
            if ledger[name] != own_ledger[name]:
                what = "the noise of another regularizer" if name == "drawn" else "a batch"
                raise Broken(f"in run {index} {what} has other bits than alone; draw from rng, as often in either")
    return f"{len(together)} runs over {together[0].history[-1]['epoch'] + 1} epochs: equal weights, history and noise"


def trained(benches: Sequence[Bench], runs: int = len(FACTORS)) -> tuple[list[Run], list[Run]]:
    """Return runs under these regularizers at other knobs, weights, data and seeds, trained together and alone."""
    task = next(task for task in benches[0].kind.tasks if all(task in one.kind.tasks for one in benches))
    members = []
    for seed, factor in enumerate(FACTORS[:runs]):
        splits = data(task)
        parts = {name: getattr(splits, name) for name in ("train", "val", "test")}
        doubled = {name: replace(part, x=part.x.double().roll(seed, 0)) for name, part in parts.items()}
        regularizers = [*(bench.scaled(factor) for bench in benches), Ledger()]
        members.append(Member(network(seed).double(), regularizers, replace(splits, **doubled), seed))
    shared: dict[str, Any] = {"recipe": RECIPE, "task": task}
    return train_cohort(members, together=True, **shared), train_cohort(members, together=False, **shared)


class Ledger(Regularizer):
    """Stands last in the chain, changes nothing, and adds up the bits of all it sees and draws in a training."""

    name = "ledger"
    drawn: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("drawn", "seen"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    @hookimpl(trylast=True)
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> None:
        """Add up the batch that is learned from, and a draw."""
        for entry, value in ((self.seen, x), (self.seen, y), (self.drawn, rng.uniform(8).double())):
            bits = value.detach().double().flatten().view(torch.int64)
            places = torch.arange(1, 2 * bits.shape[0], 2, device=bits.device)
            entry.mul_(31).add_((bits * places).sum())

    @hookimpl(trylast=True)
    def finish(self, model: nn.Module) -> None:
        """Leave the sums with the network."""
        model.ledger = {"drawn": int(self.drawn), "seen": int(self.seen)}  # type: ignore[assignment]


def batches_are_exact(*kinds: type[Regularizer]) -> bool:
    """Whether no batch depends on the network, so that batches have the same bits however it is computed."""
    return not any({"predict", "loss"} & set(_arguments(kind, "batch")) for kind in kinds)


def _arguments(kind: type[Regularizer], hook: str) -> tuple[str, ...]:
    function = getattr(kind, hook, None)
    return function.__code__.co_varnames[: function.__code__.co_argcount] if function is not None else ()
