"""Runs trained in one step.

A stack holds the parameters and buffers of all its runs, one tensor a name with the runs along its first dimension.
The objective is called once, through `vmap`, with slices of them; autograd and the optimizer work on the stack. Each
run keeps its own objective, whose tensors are views of the stack, so that hooks which are called run by run see the
network they belong to. A stack never has one row: a run that is left alone in it is computed twice, since a batch of
one matrix or image is rounded in another way, and the bits of a run must not depend on its company.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.func import stack_module_state

from ..inference import scores
from ..noise import fold, permutations
from ..recipe import fusible
from ..session import Run, Session
from ..training import look
from .forward import NETWORK, Forward
from .images import Images
from .likeness import Unlike, structure
from .rates import Schedules, step_at
from .tensors import by_run, own_tensors, put

if TYPE_CHECKING:
    from ..data.split import Split, Splits

T = TypeVar("T")
VECTOR = 64  # entries: a multiple of what any vector register takes
BY_RUN = ("before_epoch", "learning_rate", "after_epoch")  # hooks that see the objective of one run
WIDE = 10_000  # weights from which a CPU looks at one network after the other faster than at all together


class Stack:
    """Runs that are trained in one step. `epoch()` trains one epoch; a run that has ended leaves the stack.

    Args:
        sessions: of the runs, not begun, with alike objectives.
        splits: of each run, in memory and equally large.

    Raises:
        Unlike: for runs that a stack does not train as they are trained alone.
    """

    def __init__(self, sessions: Sequence[Session], splits: Sequence[Splits]) -> None:
        first = structure(sessions[0].objective)
        if any(structure(one.objective) != first for one in sessions[1:]):
            raise Unlike("regularizers have prepared networks that differ in more than numbers")
        self.sessions, self.recipe = list(sessions), sessions[0].recipe
        self._splits = dict(zip(sessions, splits, strict=True))
        self._seconds: dict[Session, float] = dict.fromkeys(sessions, 0.0)  # of all, in the order they came
        self.worker = copy.deepcopy(sessions[0].objective)  # the code alone: its tensors are never looked at
        self.worker.stacked = True
        self._device = sessions[0].device
        self._train, self._val = (
            Images([getattr(one, part) for one in self._rows(splits)], self.worker, self._device)
            for part in ("train", "val")
        )
        params, buffers = stack_module_state([session.objective for session in self._rows(sessions)])
        self.state: dict[str, Tensor] = {**params, **buffers}
        trained = [f"{NETWORK}{name}" for name, one in self.worker.network.named_parameters() if one.requires_grad]
        if not self.state.keys() >= set(trained):
            raise Unlike("a regularizer and the network share parameters")
        for name in self.state.keys() - set(trained):  # parameters of regularizers, too, are theirs to change
            self.state[name] = self.state[name].detach()
        self._forward = Forward(self.worker, self.state)
        weights = sum(value.numel() for value in self.worker.network.parameters())
        self._wide = weights > WIDE and torch.device(self._device).type == "cpu" and not self._forward.chained
        self._optimizer = self.recipe.build(self._groups())
        self._bind()
        if self.worker.regularizers or not self._forward.chained:
            self._compare()

    @property
    def rows(self) -> int:
        """The number of runs that are computed."""
        return max(2, len(self.sessions))

    def _rows(self, values: Sequence[T]) -> list[T]:
        """One value a row, of one a run."""
        return [*values] * (self.rows // len(values))

    @property
    def share_done(self) -> float:
        """Share of the epochs that are trained; a run that has ended counts as whole."""
        ended = len(self._seconds) - len(self.sessions)
        return (ended + sum(one.epoch / self.recipe.epochs for one in self.sessions)) / len(self._seconds)

    def runs(self) -> list[Run]:
        """Return the runs in the order they came; to be asked when all have ended."""
        found = [session.result(seconds, self._splits[session].train) for session, seconds in self._seconds.items()]
        for run in found:
            run.cohort = len(found)
        return found

    def epoch(self) -> None:
        """Train all runs for an epoch, look at them, and let go of those that have ended."""
        started, count = time.perf_counter(), self._train.count
        images, order = self._images(), self._order()
        schedules = Schedules(self.sessions)
        steps = self.recipe.epochs * -(-count // self.recipe.batch_size)
        sums: dict[str, Tensor] = {}
        step, many = self.sessions[0].step, order.split(self.recipe.batch_size, 1)
        numbers = step + torch.arange(len(many), device=self._device)
        step_keys = torch.as_tensor(fold(torch.as_tensor(fold(self.keys(), "step")).unsqueeze(1), numbers))
        self.worker.train()
        for where, key in zip(many, step_keys.unbind(1), strict=True):
            progress = self.sessions[0].step / steps
            rates = self._rows(schedules.rates(progress))
            for name, value in self.step(images.take(where), key, rates, progress).items():
                sums.setdefault(name, torch.zeros_like(value)).add_(value, alpha=where.shape[1])
        means = by_run({name: total / count for name, total in sums.items()})
        metrics = self.look()
        share = (time.perf_counter() - started) / len(self.sessions)
        rows = zip(self.sessions, means, rates, metrics, strict=False)  # a row may be a copy
        for at, (session, mean, rate, seen) in enumerate(rows):
            session.objective.passes = self.worker.passes
            self._seconds[session] += share
            val = self._val.of(at) if session.objective.has("after_epoch", "val") else None
            session.end_epoch(mean, val, learning_rate=rate, **seen)
        self.keep([at for at, session in enumerate(self.sessions) if session.running])

    def batch(self, where: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and labels at positions `(rows, batch)`, for `step`."""
        return self._train.take(where)

    def _images(self) -> Images:
        """The images to learn from in this epoch."""
        if not self.worker.has("before_epoch"):
            return self._train
        changed = [one.images(self._train.of(at)) for at, one in enumerate(self.sessions)]
        return Images(self._rows(changed), self.worker, self._device)

    def _order(self) -> Tensor:
        """The order of the images in this epoch, int64 `(rows, images)`."""
        count, epoch = self._train.count, self.sessions[0].epoch
        if not self.recipe.shuffle:
            return torch.arange(count, device=self._device).expand(self.rows, -1)
        return permutations(torch.as_tensor(fold(fold(self.keys(), "order"), epoch)), count)

    def step(
        self, batch: tuple[Tensor, Tensor], keys: Tensor, rates: Sequence[float], progress: float
    ) -> dict[str, Tensor]:
        """Make one update and return the losses and their terms, `(rows,)` each.

        Args:
            batch: images `(rows, batch, ...)` and what they are labelled with.
            keys: the randomness of the step, int64 `(rows,)`.
            rates: the learning rate of each row.
            progress: share of training that is done.
        """

        losses, terms = self._forward.losses(self.state, *batch, keys, progress)
        for tensor in self._learned():
            tensor.grad = None
        losses.sum().backward()  # runs share nothing, so the gradient of each is its own
        if self.worker.has("gradient"):
            given = {name: one.grad for name, one in self._weights().items() if one.grad is not None}
            for name, value in self._each("gradient", progress, given, keys).items():
                self.state[NETWORK + name].grad = value
        copied = self.worker.has("after_step", "before")
        before = {name: one.detach().clone() for name, one in self._weights().items()} if copied else {}
        step_at(rates, self._optimizer, self.recipe.learning_rate or max(rates))
        if self.worker.has("after_step"):
            rate = torch.tensor(rates, dtype=torch.float64, device=self._device)
            for name, value in self._each("after_step", progress, before, rate, keys).items():
                self.state[NETWORK + name].detach().copy_(value)
        for session in self.sessions:
            session.step += 1
        return {name: value.detach() for name, value in ({"train_loss": losses} | terms).items()}

    def _each(self, hook: str, progress: float, *rows: Any) -> dict[str, Tensor]:
        """What a method of the objective that maps weights returns for each run, given a row of each argument."""
        with torch.no_grad():
            return dict(self._forward.each(hook, self.state, *rows, progress=progress))

    def _weights(self) -> dict[str, Tensor]:
        return {name: self.state[NETWORK + name] for name, _ in self.worker.network.named_parameters()}

    def look(self) -> list[dict[str, float]]:
        """Return what `training.look` says of each run."""
        if self._wide:
            return [look(one.objective, self._parts(at)) for at, one in enumerate(self.sessions)]
        weights = [self.state[NETWORK + name].detach() for name, _ in self.worker.network.named_parameters()]
        norms = [torch.linalg.vector_norm(one.flatten(1), dim=1).double() for one in weights]
        found = {"frobenius_norm": torch.stack(norms).square().sum(0).sqrt()}
        for part, images in (("train", self._train), ("val", self._val)):
            if images.count:
                outputs = self._forward.outputs(self.state, images.in_batches())
                seen = scores(outputs, images.y.whole(), self.worker.task)
                found |= {f"{part}_{name}": value for name, value in seen.items()}
        return by_run(found)

    def _parts(self, at: int) -> dict[str, Split]:
        return {"train": self._train.of(at), "val": self._val.of(at)}

    def keep(self, left: Sequence[int]) -> None:
        """Let the runs go that are not `left`; what hooks have put in the place of a tensor is taken over."""
        if any(map(self.worker.has, BY_RUN)):
            self._take_over()
        if len(left) == len(self.sessions):
            return
        for session in {*self.sessions} - {self.sessions[at] for at in left}:
            own_tensors(session.objective)  # or each would keep the whole stack in memory
        if not left:
            self.sessions = []
            return
        stacked, momenta = self._learned(), self._optimizer.state
        self.sessions = [self.sessions[index] for index in left]
        at = torch.tensor(self._rows(left), dtype=torch.int64, device=self._device)
        self.state = {
            name: value.detach()[at].requires_grad_(value.requires_grad) for name, value in self.state.items()
        }
        for images in (self._train, self._val):
            images.keep(at)
        for group, new_group in zip(self._optimizer.param_groups, self._groups(), strict=True):
            group["params"] = new_group["params"]
        for old, new in zip(stacked, self._learned(), strict=True):
            kept = momenta.pop(old, {})
            momenta[new] = {key: value[at] if value.shape == old.shape else value for key, value in kept.items()}
        self._bind()

    def _compare(self) -> None:
        """Compare the answers to a batch, and the losses, with those that each run has alone.

        A stack sees tensors. What runs differ in beside them, as in a hook of a layer, is in it that of the first one.
        """
        at = torch.arange(min(self.recipe.batch_size, self._train.count), device=self._device)
        x, y = self.batch(at.expand(self.rows, -1))
        asks = not self._forward.chained  # of a chain all is known that it consists of
        with self.rehearsal(), torch.no_grad():
            together = [self._forward.outputs(self.state, [x])] if asks else []
            self.worker.train()
            together += [self._forward.losses(self.state, x, y, self.keys(), 0.0)[0]]
        with self.rehearsal(), torch.no_grad():
            runs = [(row, session.key, session.objective) for row, session in enumerate(self.sessions)]
            alone = [torch.stack([one.network.eval()(x[row]) for row, _, one in runs])] if asks else []
            alone += [torch.stack([one.train()(x[row], y[row], key, 0.0)[0] for row, key, one in runs])]
        for stacked, own in zip(together, alone, strict=True):
            if not torch.allclose(stacked[: len(own)], own.to(stacked), 1e-3, 1e-4, equal_nan=True):
                raise Unlike("runs differ in more than parameters, buffers and knobs")

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Take back everything that steps inside the block have changed."""
        before = {name: value.detach().clone() for name, value in self.state.items()}
        try:
            yield
        finally:
            for name, value in self.state.items():
                value.detach().copy_(before[name])
            self._optimizer.state.clear()
            self.worker.passes = 0
            for session in self.sessions:
                session.step = 0

    def keys(self) -> Tensor:
        """Return the key of each row, int64 `(rows,)`."""
        return torch.tensor(self._rows([session.key for session in self.sessions]), device=self._device)

    def _learned(self) -> list[Tensor]:
        return [value for value in self.state.values() if value.requires_grad]

    def _groups(self) -> list[dict[str, Any]]:
        # A fused kernel rounds the last entries of a tensor otherwise than the others. Where those of each run are a
        # multiple of what it takes at once there are no last entries, and its bits do not depend on its place.
        even = {
            flag: [one for one in self._learned() if (one[0].numel() % VECTOR == 0) is flag] for flag in (True, False)
        }
        return [{"params": tensors, "fused": flag and fusible(tensors)} for flag, tensors in even.items() if tensors]

    def _bind(self) -> None:
        """Make the tensors of each run's objective views of the stack."""
        for at, session in enumerate(self.sessions):
            for name, value in self.state.items():
                put(session.objective, name, value.detach()[at])

    def _take_over(self) -> None:
        for at, session in enumerate(self.sessions):
            tensors = {**dict(session.objective.named_parameters()), **dict(session.objective.named_buffers())}
            for name, value in self.state.items():
                view = value.detach()[at]
                if tensors[name].data_ptr() != view.data_ptr():
                    view.copy_(tensors[name].detach())
                    put(session.objective, name, view)
