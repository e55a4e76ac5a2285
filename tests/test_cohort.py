"""Cohorts: runs trained in one step are the runs they would be alone, whoever else is there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustreg.cohort import Member, train_cohort, train_many
from robustreg.cohort.likeness import structure
from robustreg.data import load_data
from robustreg.data.split import Split, Splits
from robustreg.engines import local
from robustreg.errors import UsageError
from robustreg.hookspecs import hookimpl
from robustreg.noise import fold, seed_key
from robustreg.recipe import Recipe
from robustreg.regularizer import Regularizer
from robustreg.regularizers import (
    L1,
    Dropout,
    EarlyStopping,
    FGSMTraining,
    Flip,
    LearningRate,
    Mixup,
    regularizers,
)
from robustreg.session import Run
from robustreg.testing.bench import Bench
from robustreg.testing.cohorts import batches_are_exact, compare, trained
from robustreg.training import train

DIGITS = load_data("digits", seed=0, train=120, val=40, test=20)
RECIPE = Recipe(epochs=3, batch_size=32)


def mlp(width: int = 16) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(int(fold(seed_key(seed), "weights")))
    return make()


def members(count: int, *kinds: Regularizer, make: Callable[[], nn.Module] = mlp) -> list[Member]:
    return [Member(seeded(make, seed), kinds, DIGITS, seed) for seed in range(count)]


def weights(run: Run) -> Tensor:
    return torch.cat([value.double().flatten() for value in run.model.state_dict().values()])


def close(first: list[Run], second: list[Run]) -> bool:
    return all((weights(a) - weights(b)).abs().max() < 1e-5 for a, b in zip(first, second, strict=True))


# Together equals alone; one by one it is a law, here in pairs.


def in_teams(kinds: Sequence[type[Regularizer]], size: int) -> list[tuple[type[Regularizer], ...]]:
    """Teams in which every two kinds meet at least once: a fifth of the trainings that all pairs would take."""
    left = dict.fromkeys(itertools.combinations(range(len(kinds)), 2))
    found = []
    while left:
        team = list(next(iter(left)))
        while len(team) < size:
            news = {k: sum(tuple(sorted((k, one))) in left for one in team) for k in range(len(kinds)) if k not in team}
            most = max(news, key=lambda k: news[k])
            if not news[most]:
                break
            team.append(most)
        for pair in itertools.combinations(sorted(team), 2):
            left.pop(pair, None)
        found.append(tuple(kinds[k] for k in team))
    return found


TEAMS = in_teams(regularizers(), 4)


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: "+".join(one.name for one in team))
def test_every_pair_of_regularizers_trains_in_a_cohort_as_alone(team: tuple[type[Regularizer], ...]) -> None:
    together, alone = trained([Bench(kind, {}) for kind in team], runs=2)
    compare(together, alone, exact=batches_are_exact(*team))


def test_every_pair_of_regularizers_is_in_a_team() -> None:
    met = {frozenset(pair) for team in TEAMS for pair in itertools.combinations(team, 2)}
    assert met == {frozenset(pair) for pair in itertools.combinations(regularizers(), 2)}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_every_optimizer_with_weight_decay_and_other_learning_rates(optimizer: str) -> None:
    recipe = RECIPE.changed(optimizer=optimizer, learning_rate=0.01, weight_decay=0.01, momentum=0.8)
    some = [Member(seeded(mlp, 0), [LearningRate(rate)], DIGITS, 0) for rate in (0.001, 0.01, 0.002)]
    together = train_cohort(some, recipe=recipe, together=True)
    assert [run.cohort for run in together] == [3, 3, 3]
    assert close(together, train_cohort(some, recipe=recipe, together=False))
    assert not close(together[:1], together[1:2])


def test_train_many_draws_the_weights_of_a_seed_and_trains_as_train_does() -> None:
    runs = train_many(mlp, [L1(1e-3)], DIGITS, seeds=[3, 8], recipe=RECIPE, together=True)
    alone = [train(seeded(mlp, seed), [L1(1e-3)], DIGITS, seed=seed, recipe=RECIPE) for seed in (3, 8)]
    assert close(runs, alone)
    assert [run.seed for run in runs] == [3, 8]
    assert [run.regularizers for run in runs] == [run.regularizers for run in alone]
    assert runs[0].initial_norms == alone[0].initial_norms
    assert not runs[0].model.training
    assert runs[0].seconds > 0


# Who else is there does not matter, bit for bit.


@pytest.mark.parametrize("kinds", [(), (Mixup(),), (Dropout(), EarlyStopping(1)), (L1(1e-3),)], ids=str)
def test_a_run_has_the_same_bits_in_every_cohort(kinds: tuple[Regularizer, ...]) -> None:
    recipe = RECIPE.changed(epochs=6)
    every = members(6, *kinds)
    whole = train_cohort(every, recipe=recipe, together=True)
    for chosen in ([4, 1], [5, 4, 3, 2, 1, 0], [2, 3, 5]):
        part = train_cohort([every[at] for at in chosen], recipe=recipe, together=True)
        for at, run in zip(chosen, part, strict=True):
            assert torch.equal(weights(whole[at]), weights(run))
            assert whole[at].history == run.history


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_has_the_same_bits_beside_runs_of_other_learning_rates(optimizer: str) -> None:
    recipe = RECIPE.changed(optimizer=optimizer, learning_rate=0.03, weight_decay=0.01)
    rates = (0.01, 0.03, 0.1, 0.004)
    every = [Member(seeded(mlp, 0), [LearningRate(rate)], DIGITS, 0) for rate in rates]
    whole = train_cohort(every, recipe=recipe, together=True)
    assert [run.cohort for run in whole] == [4, 4, 4, 4]
    for chosen in ([0, 1], [1], [3, 0], [1, 3]):
        part = train_cohort([every[at] for at in chosen], recipe=recipe, together=True)
        for at, run in zip(chosen, part, strict=True):
            assert torch.equal(weights(whole[at]), weights(run)), (chosen, at)
    assert close(whole, train_cohort(every, recipe=recipe, together=False))


def test_runs_that_stop_early_leave_and_the_others_go_on() -> None:
    recipe = RECIPE.changed(epochs=20)
    runs = train_cohort(members(8, EarlyStopping(1)), recipe=recipe, together=True)
    epochs = [len(run.history) for run in runs]
    assert len(set(epochs)) > 1
    alone = train_cohort(members(8, EarlyStopping(1)), recipe=recipe, together=False)
    assert epochs == [len(run.history) for run in alone]
    assert [run.gradient_passes for run in runs] == [run.gradient_passes for run in alone]


class Explosive(Regularizer):
    """Finite below strength 1."""

    name = "explosive"

    @hookimpl
    def penalty(self, logits: Tensor) -> Mapping[str, Tensor]:
        return {"explosive": (1e-3 * logits.square().mean() / (1 - self.strength)).to(logits.dtype)}


def test_a_diverging_run_is_told_and_leaves_the_others_alone() -> None:
    some = [Member(seeded(mlp, 0), [Explosive(strength)], DIGITS, 0) for strength in (0.5, 1.0, 0.25)]
    runs, alone = (train_cohort(some, recipe=RECIPE, together=choice) for choice in (True, False))
    assert [run.cohort for run in runs] == [3, 3, 3]
    assert [run.status for run in runs] == [run.status for run in alone] == ["ok", "diverged", "ok"]
    for run in (runs[1], alone[1]):
        assert run.reason in ("the loss was inf in epoch 1", "the loss was nan in epoch 1")
    assert [len(run.history) for run in runs] == [3, 1, 3]
    assert close([runs[0], runs[2]], [alone[0], alone[2]])


def test_nothing_of_the_cohort_is_left_in_its_runs() -> None:
    passed = members(4)
    before = [one.model.state_dict()["1.weight"].clone() for one in passed]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    runs = train_cohort(passed, recipe=RECIPE, together=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one.model.state_dict()["1.weight"], old) for one, old in zip(passed, before, strict=True))
    for tensor in runs[2].model.state_dict().values():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    weights(runs[0])
    runs[0].model[1].weight.data.zero_()  # type: ignore[index]
    assert weights(runs[1]).abs().sum() > 1


def convolutional() -> nn.Module:
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 64, 10))
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), head)


@pytest.mark.parametrize("make", [mlp, convolutional])
def test_a_run_alone_in_a_stack_has_the_bits_it_has_among_others(make: Any) -> None:
    recipe, every = RECIPE.changed(epochs=8), members(6, EarlyStopping(1), make=make)
    whole = train_cohort(every, recipe=recipe, together=True)
    assert len({len(run.history) for run in whole}) > 1  # so that some run is the last one left
    for member, wanted in zip(every, whole, strict=True):
        (one,) = train_cohort([member], recipe=recipe, together=True)
        assert torch.equal(weights(one), weights(wanted))
        assert one.history == wanted.history
        assert one.gradient_passes == wanted.gradient_passes


class Learner(Regularizer):
    """Has a parameter of its own, which no optimizer of the network moves."""

    name = "learner"

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    @hookimpl
    def penalty(self, logits: Tensor) -> Mapping[str, Tensor]:
        return {"learner": 0.3 * self.scale * logits.square().mean()}


class Lends(Learner):
    """Puts its own layer into the network."""

    name = "lends"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 10)

    @hookimpl
    def prepare(self, model: nn.Module) -> nn.Module:
        return nn.Sequential(model, self.layer)


def test_parameters_of_a_regularizer_are_left_to_it() -> None:
    runs, alone = (train_cohort(members(3, Learner()), recipe=RECIPE, together=choice) for choice in (True, False))
    assert [run.cohort for run in runs] == [3, 3, 3]
    assert close(runs, alone)
    runs, alone = (train_cohort(members(3, Lends()), recipe=RECIPE, together=choice) for choice in (True, False))
    assert "share parameters" in runs[0].note
    assert all(torch.equal(weights(run), weights(one)) for run, one in zip(runs, alone, strict=True))


def test_whether_noise_is_drawn_at_all_keeps_runs_in_separate_stacks() -> None:
    assert structure(Flip(0.5)) == structure(Flip(0.25))
    assert structure(Flip(0.5, vertical=0.5)) != structure(Flip(0.5))
    assert structure(FGSMTraining(0.1, clean=0.5)) != structure(FGSMTraining(0.1))


@pytest.mark.skipif(bool(local.problem()), reason=local.problem())
def test_processes_share_the_runs_and_change_nothing() -> None:
    shared: dict[str, Any] = {"seeds": range(5), "recipe": RECIPE, "together": True}
    here = train_many(mlp, [Dropout(), EarlyStopping(1)], DIGITS, **shared)
    there = train_many(mlp, [Dropout(), EarlyStopping(1)], DIGITS, processes=2, **shared)
    assert [run.cohort for run in there] == [3, 2, 3, 2, 3]
    for run, one in zip(there, here, strict=True):
        assert torch.equal(weights(run), weights(one))
        assert run.history == one.history
        assert run.seed == one.seed


@pytest.mark.skipif(bool(local.problem()), reason=local.problem())
def test_a_mistake_in_another_process_is_told_as_here() -> None:
    with pytest.raises(UsageError, match="monitor=error needs the metric val_error"):
        train_many(mlp, [EarlyStopping(1, monitor="error")], DIGITS, seeds=range(4), recipe=RECIPE, processes=2)


# Which runs share a step.


def test_members_of_several_kinds_are_sorted_into_stacks_and_come_back_in_order() -> None:
    some = members(2) + members(2, L1(1e-3)) + members(3, make=lambda: mlp(8)) + members(1, L1(1e-2))
    mixed = [some[at] for at in (0, 4, 2, 7, 5, 1, 3, 6)]
    runs = train_cohort(mixed, recipe=RECIPE, together=True)
    assert [run.cohort for run in runs] == [2, 3, 3, 3, 3, 2, 3, 3]
    assert close(runs, train_cohort(mixed, recipe=RECIPE, together=False))


class Scaled(nn.Module):
    """A module whose behaviour depends on a plain number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)) * self.factor


def test_networks_that_differ_in_a_plain_number_do_not_share_a_step() -> None:
    assert structure(Scaled(1.0)) != structure(Scaled(2.0))
    assert structure(Scaled(1.0)) == structure(Scaled(1.0))
    some = [Member(seeded(partial(Scaled, factor), 0), [], DIGITS, 0) for factor in (1.0, 2.0)]
    runs = train_cohort(some, recipe=RECIPE, together=True)
    assert [run.cohort for run in runs] == [1, 1]


class Boxed:
    """Keeps a value where nobody looks."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


class Shuffled(nn.Module):
    """Looks at the pixels in an order of its own, kept in some way."""

    def __init__(self, keep: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.order, self.linear = keep(torch.randperm(64)), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        order = self.order.value if isinstance(self.order, Boxed) else torch.as_tensor(self.order)
        return self.linear(x.flatten(1)[:, order])


class Hooked(nn.Module):
    """The same, but for the order that a hook of a layer gives the pixels."""

    def __init__(self) -> None:
        super().__init__()
        order, self.linear = torch.randperm(64), nn.Linear(64, 10)
        self.linear.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, order],))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


KEEPS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": Tensor.clone,
    "list": Tensor.tolist,
    "array": Tensor.numpy,
    "object": Boxed,
}


@pytest.mark.parametrize("kind", [*KEEPS, "hook"])
def test_networks_that_differ_beside_their_tensors_are_not_taken_for_one(kind: str) -> None:
    make = Hooked if kind == "hook" else partial(Shuffled, KEEPS[kind])
    some, alone = (train_cohort(members(3, make=make), recipe=RECIPE, together=how) for how in (True, False))
    assert [run.cohort for run in some] == [1, 1, 1]
    assert close(some, alone)
    if kind in ("hook", "object"):  # found when the stack is compared with its runs
        assert some[0].note == "trained alone: runs differ in more than parameters, buffers and knobs"


def test_parts_of_a_large_group_are_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustreg.cohort.trial.LARGEST", 2)
    same = iter([True, True, False, False])

    def make() -> nn.Module:
        made = mlp()
        if not next(same):
            by = torch.rand(())
            made.register_forward_hook(lambda _, inputs, said: said * by)
        return made

    runs = train_cohort(members(4, make=make), recipe=RECIPE, together=True)
    assert [run.cohort for run in runs] == [2, 2, 1, 1]
    assert [bool(run.note) for run in runs] == [False, False, True, True]


class Counting(nn.Module):
    """Counts its images in a buffer that it replaces, or that is empty at first."""

    def __init__(self, empty: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.register_buffer("seen", None if empty else torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen = len(x) + (torch.zeros(()) if self.seen is None else self.seen)
        return self.linear(x.flatten(1))


@pytest.mark.parametrize("empty", [True, False])
def test_networks_that_replace_buffers_are_trained_alone(empty: bool) -> None:
    runs = train_cohort(members(3, make=partial(Counting, empty)), recipe=RECIPE, together=True)
    assert [float(run.model.seen) for run in runs] == [3 * 120.0] * 3  # type: ignore[arg-type]
    assert all(run.cohort == 1 and run.note.startswith("trained alone") for run in runs)
    assert empty or "replaces the buffer 'seen'; write on it in place" in runs[0].note


class Falling(Regularizer):
    """A schedule whose state is no tensor: it halves the rate after an epoch that was not better than the best."""

    name = "falling"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []
        self.factor = 1.0

    @hookimpl
    def learning_rate(self) -> float:
        return self.factor

    @hookimpl
    def after_epoch(self, metrics: Mapping[str, float]) -> None:
        if self.seen and metrics["val_nll"] >= min(self.seen):
            self.factor /= 2
        self.seen.append(metrics["val_nll"])


def test_runs_whose_schedules_remember_other_things_have_learning_rates_of_their_own() -> None:
    recipe = RECIPE.changed(epochs=8, learning_rate=1.0)
    found = [train_cohort(members(4, Falling()), recipe=recipe, together=how) for how in (True, False)]
    rates, alone = ([[row["learning_rate"] for row in run.history] for run in runs] for runs in found)
    assert rates == alone
    assert len({tuple(row) for row in rates}) > 1  # they do part


class Weighted(Regularizer):
    """Keeps its strength in a list."""

    name = "weighted"

    def __init__(self, by: float) -> None:
        super().__init__()
        self.weights = [by]

    @hookimpl
    def penalty(self, logits: Tensor) -> Mapping[str, Tensor]:
        return {"weighted": self.weights[0] * logits.square().mean()}


def test_regularizers_that_differ_in_a_list_do_not_share_a_step() -> None:
    some = [Member(seeded(mlp, 0), [Weighted(by)], DIGITS, 0) for by in (0.0, 0.1, 0.1)]
    runs = train_cohort(some, recipe=RECIPE, together=True)
    assert [run.cohort for run in runs] == [1, 2, 2]
    assert runs[0].history[-1]["weighted"] == 0 < runs[1].history[-1]["weighted"]


class Halting(Regularizer):
    """Asks a tensor a question, which vmap cannot answer for many runs at once."""

    name = "halting"

    @hookimpl
    def penalty(self, logits: Tensor) -> Mapping[str, Tensor]:
        return {"halting": logits.sum() * (1e-3 if logits.mean() > 0 else 0.0)}


def noisy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, 10))


@pytest.mark.parametrize(("kinds", "make"), [((Halting(),), mlp), ((), noisy)], ids=["plugin", "torch's own noise"])
def test_what_cannot_be_vectorized_is_trained_alone_and_says_why(kinds: Any, make: Any) -> None:
    runs = train_cohort(members(3, *kinds, make=make), recipe=RECIPE, together=True)
    assert [run.cohort for run in runs] == [1, 1, 1]
    for run in runs:
        assert run.note.startswith("trained alone, as it does not run inside torch.vmap: ")
        assert "\n" not in run.note
    alone = train_cohort(members(3, *kinds, make=make), recipe=RECIPE, together=False)
    assert all(torch.equal(weights(run), weights(one)) for run, one in zip(runs, alone, strict=True))
    assert not alone[0].note


class Uneven(Regularizer):
    """Prepares a network by its strength, a float that runs of a cohort may differ in."""

    name = "uneven"

    @hookimpl
    def prepare(self, model: nn.Module) -> nn.Module:
        return nn.Sequential(model, nn.Linear(10, 10)) if self.strength > 0.5 else model


def test_networks_prepared_differently_are_trained_alone() -> None:
    some = [Member(seeded(mlp, 0), [Uneven(strength)], DIGITS, 0) for strength in (0.1, 0.9)]
    runs = train_cohort(some, recipe=RECIPE, together=True)
    assert [run.cohort for run in runs] == [1, 1]
    assert "differ in more than numbers" in runs[0].note


class Tied(nn.Module):
    """One matrix used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.first(x.flatten(1)).relu()).relu())


def test_shared_weights_stay_shared() -> None:
    runs = train_cohort(members(3, make=Tied), recipe=RECIPE, together=True)
    assert [run.cohort for run in runs] == [3, 3, 3]
    assert runs[1].model.first.weight is runs[1].model.second.weight  # type: ignore[union-attr]
    assert close(runs, train_cohort(members(3, make=Tied), recipe=RECIPE, together=False))


@pytest.mark.parametrize(
    ("alone", "stacked", "cohort"), [(0.02, 0.05, 1), (0.02, 0.03, 2), (0.05, 0.01, 1)], ids=["no", "yes", "too slow"]
)
def test_runs_are_stacked_where_a_step_of_the_stack_takes_less_time_a_run(
    alone: float, stacked: float, cohort: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    paces = iter((alone, stacked))

    def pace(step: Callable[[], Any], device: str, times: int = 5) -> float:
        step()
        return next(paces)

    monkeypatch.setattr("robustreg.cohort.trial._pace", pace)
    runs = train_cohort(members(2), recipe=RECIPE)
    assert [run.cohort for run in runs] == [cohort] * 2
    assert runs[0].note == ("" if cohort > 1 else "trained alone: stacked it is no faster")
    monkeypatch.undo()  # The trial has left no trace.
    wanted = train_cohort(members(2), recipe=RECIPE, together=cohort > 1)
    assert all(torch.equal(weights(run), weights(one)) for run, one in zip(runs, wanted, strict=True))


def test_a_stack_is_no_larger_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = sum(value.numel() for value in mlp().parameters()) * 4
    monkeypatch.setattr("robustreg.cohort.trial.ROOM", 4 * parameters)
    runs = train_cohort(members(6), recipe=RECIPE, together=True)
    assert [run.cohort for run in runs] == [3] * 6


def test_progress_grows_to_one() -> None:
    seen: list[float] = []
    some = members(3, EarlyStopping(1)) + members(1, make=lambda: mlp(8))
    train_cohort(some, recipe=RECIPE.changed(epochs=6), together=True, on_epoch=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_regression_targets_and_shared_images_with_other_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, 1, 8, 8, generator=generator)
    every = []
    for seed in range(3):
        y = torch.randn(40, 2, generator=generator)
        parts = [Split(x[at], y[at], ("a", "b"), torch.arange(len(y[at]))) for at in (slice(0, 30), slice(30, 40))]
        splits = Splits(parts[0], parts[1], parts[1], "toy", ("a", "b"), (1, 8, 8), "hash", 0)
        model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 2)), seed)
        every.append(Member(model, [], splits, seed))
    shared: dict[str, Any] = {"recipe": RECIPE.changed(learning_rate=0.01), "task": "regression"}
    together, alone = (train_cohort(every, together=choice, **shared) for choice in (True, False))
    assert [run.cohort for run in together] == [3, 3, 3]
    assert close(together, alone)
    for run, one in zip(together, alone, strict=True):
        assert run.history[-1]["val_error"] == pytest.approx(one.history[-1]["val_error"], rel=1e-5)


def test_no_epochs_leave_the_networks_as_they_are() -> None:
    runs = train_cohort(members(2), recipe=RECIPE.changed(epochs=0), together=True)
    assert torch.equal(weights(runs[1]), weights(train(seeded(mlp, 1), [], DIGITS, seed=1, epochs=0)))


def test_mistakes_are_told_before_anything_is_trained() -> None:
    with pytest.raises(UsageError, match=r"model must be a torch.nn.Module, got str"):
        train_many(lambda: "mlp", [], DIGITS, seeds=[0])  # type: ignore[arg-type, return-value]
    with pytest.raises(UsageError, match="a list of Regularizer instances"):
        train_many(mlp, L1(), DIGITS, seeds=[0])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no setting 'epoch'"):
        train_many(mlp, [], DIGITS, seeds=[0], epoch=3)
    with pytest.raises(UsageError, match=r"make_model must be a function .*, got Sequential"):
        train_many(mlp(), [], DIGITS, seeds=2)
    with pytest.raises(UsageError, match="processes must be at least 1, got 0"):
        train_many(mlp, [], DIGITS, seeds=[0], processes=0)
