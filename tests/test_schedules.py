"""Every learning-rate schedule against torch's schedulers and closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from robustreg import regularizers
from robustreg.data.split import Split, Splits
from robustreg.errors import UsageError
from robustreg.objective import Objective
from robustreg.regularizer import Regularizer
from robustreg.testing import check
from robustreg.training import train

NEW = ["MultiStep", "Exponential", "Polynomial", "Cyclic", "OneCycle", "Restarts", "Plateau"]


def factors(regularizer: Regularizer, steps: int) -> list[float]:
    objective = Objective(nn.Linear(2, 2), [regularizer])
    return [objective.learning_rate(step / steps, 0.1) for step in range(steps)]


def torchs(scheduler: Any, steps: int, base: float = 1.0) -> list[float]:
    """The learning rates of a torch scheduler."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base, momentum=0.9)
    schedule = scheduler(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("name", NEW)
def test_a_schedule_of_strength_0_is_exactly_1(name: str) -> None:
    assert {1.0} == set(factors(getattr(regularizers, name)(0), 97))


@pytest.mark.parametrize("name", [name for name in NEW if name != "Plateau"])
def test_the_factor_is_never_negative_nor_above_1(name: str) -> None:
    for steps in (1, 2, 3, 7, 100, 997):
        found = factors(getattr(regularizers, name)(), steps)
        assert min(found) >= 0
        assert max(found) <= 1 + 1e-12


@pytest.mark.parametrize("steps", [60, 49, 200])
def test_multistep_is_torchs(steps: int) -> None:
    milestones = [math.ceil(steps * share) for share in (0.3, 0.6, 0.8)]
    wanted = torchs(lambda one: lr_scheduler.MultiStepLR(one, milestones, gamma=0.2), steps)
    assert factors(regularizers.MultiStep(0.8, first=0.3, second=0.6, third=0.8), steps) == pytest.approx(wanted)


def test_multistep_drops_at_half_and_three_quarters_and_a_point_at_1_is_never() -> None:
    wanted = torchs(lambda one: lr_scheduler.MultiStepLR(one, [20, 30], gamma=0.1), 40)
    assert factors(regularizers.MultiStep(), 40) == pytest.approx(wanted)
    assert {1.0} == set(factors(regularizers.MultiStep(first=1, second=1), 40))


@pytest.mark.parametrize("steps", [3, 7, 11, 12, 49, 98])
def test_a_point_of_training_is_met_at_its_step_whatever_the_rounding(steps: int) -> None:
    for step in range(1, steps):
        found = factors(regularizers.MultiStep(0.5, first=step / steps, second=1), steps)
        assert found == [1.0] * step + [0.5] * (steps - step)


@pytest.mark.parametrize("strength", [0.99, 0.5])
def test_exponential_is_torchs(strength: float) -> None:
    gamma = (1 - strength) ** (1 / 50)
    wanted = torchs(lambda one: lr_scheduler.ExponentialLR(one, gamma), 50)
    assert factors(regularizers.Exponential(strength), 50) == pytest.approx(wanted)


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_polynomial_is_torchs(power: float) -> None:
    wanted = torchs(lambda one: lr_scheduler.PolynomialLR(one, total_iters=50, power=power), 50)
    assert factors(regularizers.Polynomial(power), 50) == pytest.approx(wanted)


@pytest.mark.parametrize(("cycles", "half"), [(1, 30), (2, 15), (3, 10)])
@pytest.mark.parametrize("halving", [False, True])
def test_cyclic_is_torchs(cycles: int, half: int, halving: bool) -> None:
    mode: Any = "triangular2" if halving else "triangular"

    def scheduler(one: Any) -> Any:
        return lr_scheduler.CyclicLR(one, 0.2, 1.0, step_size_up=half, mode=mode, cycle_momentum=False)

    member = regularizers.Cyclic(0.8, cycles=cycles, halving=halving)
    assert factors(member, 60) == pytest.approx(torchs(scheduler, 60))


@pytest.mark.parametrize(("rise", "start", "end"), [(0.3, 25.0, 1e4), (0.5, 10.0, 1.0), (0.1, 4.0, 100.0)])
def test_one_cycle_is_torchs(rise: float, start: float, end: float) -> None:
    # torch's last step is the end of the cycle, and ours is the one before.
    settings: dict[str, Any] = {"pct_start": (rise * 50 + 1) / 51, "div_factor": start, "final_div_factor": end}
    wanted = torchs(lambda one: lr_scheduler.OneCycleLR(one, 1.0, total_steps=51, **settings), 50)
    found = factors(regularizers.OneCycle(rise=rise, start=start, end=end), 50)
    assert found == pytest.approx(wanted)
    half = factors(regularizers.OneCycle(0.5, rise=rise, start=start, end=end), 50)
    assert half == pytest.approx([(1 + factor) / 2 for factor in wanted])


def test_a_cycle_that_only_rises_ends_at_the_base() -> None:
    found = factors(regularizers.OneCycle(rise=1), 1000)
    assert found == sorted(found)
    assert found[-1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("cycles", "growth", "first", "steps"),
    [(1, 1, 40, 40), (3, 1, 20, 60), (2, 2, 16, 48), (3, 2, 7, 49), (49, 1, 2, 98)],
)
@pytest.mark.parametrize("strength", [1.0, 0.75])
def test_restarts_are_torchs(cycles: int, growth: int, first: int, steps: int, strength: float) -> None:
    def scheduler(one: Any) -> Any:
        return lr_scheduler.CosineAnnealingWarmRestarts(one, first, growth, eta_min=1 - strength)

    member = regularizers.Restarts(strength, cycles=cycles, growth=growth)
    assert factors(member, steps) == pytest.approx(torchs(scheduler, steps), abs=1e-9)


def test_one_cycle_of_restarts_is_cosine() -> None:
    assert factors(regularizers.Restarts(0.9, cycles=1), 40) == factors(regularizers.Cosine(0.9), 40)


@pytest.mark.parametrize("monitor", ["accuracy", "nll"])
@pytest.mark.parametrize(("patience", "delta"), [(0, 0.0), (2, 0.0), (3, 0.1)])
def test_plateau_is_torchs(monitor: str, patience: int, delta: float) -> None:
    generator = torch.Generator().manual_seed(patience)
    scores = (torch.rand(60, generator=generator) * 0.6 + torch.arange(60) / 100).round(decimals=2).tolist()
    if monitor == "nll":
        scores = [1.5 - score for score in scores]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = lr_scheduler.ReduceLROnPlateau(
        optimizer, "max" if monitor == "accuracy" else "min", 0.7, patience, delta, "abs", eps=0
    )
    member = regularizers.Plateau(0.3, patience=patience, monitor=monitor, min_delta=delta)
    objective = Objective(nn.Linear(2, 2), [member])
    for epoch, score in enumerate(scores):
        schedule.step(score)
        assert objective.after_epoch(epoch, {f"val_{monitor}": score}) is False
        assert objective.learning_rate(0.5, 0.1) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert optimizer.param_groups[0]["lr"] < 0.5


def splits() -> Splits:
    """Random images with random labels."""

    def part(count: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.rand(count, 1, 4, 4, generator=generator), torch.randint(3, (count,), generator=generator)
        return Split(x, y, tuple("abc"), torch.arange(count))

    return Splits(part(40, 0), part(24, 1), part(8, 2), "noise", tuple("abc"), (1, 4, 4), "hash", 0)


def test_a_training_follows_its_validation_down() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    run = train(model, [regularizers.Plateau(0.9, patience=1)], splits(), epochs=25, batch_size=8, learning_rate=0.1)
    best, waited, rate = -1.0, 0, 0.1
    for row in run.history:  # the last rate of an epoch is what the epochs before it say
        assert row["learning_rate"] == pytest.approx(rate)
        best, waited = (row["val_accuracy"], 0) if row["val_accuracy"] > best else (best, waited + 1)
        rate, waited = (rate * 0.1, 0) if waited > 1 else (rate, waited)
    assert rate < 0.011


def test_plateau_says_which_metrics_there_are() -> None:
    objective = Objective(nn.Linear(2, 2), [regularizers.Plateau(monitor="error")])
    with pytest.raises(UsageError, match="plateau: monitor=error needs the metric val_error; there are val_accuracy"):
        objective.after_epoch(0, {"val_accuracy": 0.5})
    assert Objective(nn.Linear(2, 2), [regularizers.Plateau(0, monitor="error")]).after_epoch(0, {}) is False


def test_the_laws_hold_for_a_plateau_that_is_met() -> None:
    assert [row for row in check(regularizers.Plateau, patience=0) if row["status"] == "failed"] == []
