"""Distillation: against torch's own losses and Hinton's limit; the naive win of the defence, and its break."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustreg.attacks import fgsm, pgd
from robustreg.data import load_data
from robustreg.data.split import Split, Splits
from robustreg.errors import PluginError, UsageError
from robustreg.layers import Dropout
from robustreg.objective import Objective
from robustreg.plugins import discover
from robustreg.regularizer import Regularizer
from robustreg.regularizers import Distillation
from robustreg.regularizers.distillation import Heated
from robustreg.regularizers.divergence import divergence
from robustreg.resolve import arms_of
from robustreg.session import Session
from robustreg.testing.bench import Bench
from robustreg.testing.runner import judge
from robustreg.training import train

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(12, 1, 4, 4, generator=GENERATOR).double()
Y = torch.arange(12) % 5


def mlp(seed: int = 0, width: int = 6) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 5)).double()


def splits() -> Splits:
    part = Split(X, Y, tuple("abcde"), torch.arange(12))
    return Splits(part, part, part, "some", part.classes, part.shape, "hash", 0)


RULES: dict[str, Any] = {"epochs": 3, "batch_size": 5, "learning_rate": 0.1}


@pytest.mark.parametrize("mode", ["kd", "defensive"])
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_the_loss_is_the_formula_of_the_paper(mode: str, alpha: float) -> None:
    student, teacher = mlp(1), mlp(2, width=9)
    member = Distillation(alpha, teacher=teacher, mode=mode, temperature=3)
    loss, terms = Objective(student, [member])(X, Y, 0)
    soft = F.kl_div(F.log_softmax(student(X) / 3, -1), F.softmax(teacher(X) / 3, -1), reduction="batchmean")
    wanted = (1 - alpha) * F.cross_entropy(student(X), Y) + alpha * (9 if mode == "kd" else 3) * soft
    torch.testing.assert_close(loss, wanted, rtol=1e-12, atol=1e-14)
    assert list(terms) == ["loss", member.name]


def test_of_a_student_that_is_its_teacher_nothing_is_left_to_learn() -> None:
    model = mlp()
    loss, _ = Objective(model, [Distillation(1.0, teacher=model)])(X, Y, 0)
    loss.backward()
    assert abs(loss.item()) < 1e-14
    assert max(value.grad.abs().max().item() for value in model.parameters()) < 1e-14  # type: ignore[union-attr]


def test_hot_distillation_matches_logits() -> None:
    """Hinton's limit: the gradient of T**2 times the divergence is the difference of centred logits over classes."""
    teacher, student = torch.randn(2, 7, 5, generator=GENERATOR, dtype=torch.float64)
    student.requires_grad_()
    heat = torch.tensor(1e5, dtype=torch.float64)
    (slope,) = torch.autograd.grad(heat.square() * divergence(teacher / heat, student / heat), student)
    gap = (student - student.mean(-1, keepdim=True)) - (teacher - teacher.mean(-1, keepdim=True))
    torch.testing.assert_close(slope, gap.detach() / 5 / 7, rtol=1e-3, atol=1e-6)


def test_answers_as_sure_as_floats_allow_are_finite() -> None:
    sure = torch.tensor([[1e4, 0.0], [0.0, 3e4]])
    for student in (sure, -sure, 0 * sure):
        assert torch.isfinite(divergence(sure, student))


def test_heated_training_is_the_loss_at_a_temperature_times_the_temperature() -> None:
    model = mlp()
    loss, _ = Objective(model, [Heated(7.0)])(X, Y, 0)
    torch.testing.assert_close(loss, 7 * F.cross_entropy(model(X) / 7, Y), rtol=1e-12, atol=0)


# The teacher.


def teacher_of(member: Regularizer) -> dict[str, Tensor]:
    found: list[dict[str, Tensor]] = []

    def look(session: Session) -> None:
        kept = session.objective.regularizers[member.name].teacher
        assert not any(value.requires_grad or value.grad is not None for value in kept.parameters())  # type: ignore[union-attr]
        found.append({name: value.clone() for name, value in kept.state_dict().items()})  # type: ignore[union-attr]

    train(mlp(), [member], splits(), on_epoch=look, **RULES)
    assert len(found) == 3
    torch.testing.assert_close(found[0], found[-1], rtol=0, atol=0)
    return found[-1]


@pytest.mark.parametrize(("mode", "how"), [("kd", []), ("defensive", [Heated(20.0)])])
def test_the_teacher_is_the_same_network_trained_first_and_stays_as_it_is(mode: str, how: list[Regularizer]) -> None:
    wanted = train(mlp(), how, splits(), **RULES).model.state_dict()
    torch.testing.assert_close(teacher_of(Distillation(mode=mode)), dict(wanted), rtol=0, atol=0)


def test_a_teacher_of_ones_own_is_copied_and_no_other_is_trained() -> None:
    own = mlp(5, width=11)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    found = teacher_of(Distillation(teacher=own))
    torch.testing.assert_close(found, before, rtol=0, atol=0)
    assert all(value.requires_grad for value in own.parameters())
    assert own.training
    run = train(mlp(), [Distillation(teacher=own)], splits(), **RULES)
    assert run.gradient_passes == train(mlp(), [], splits(), **RULES).gradient_passes


def test_teachers_have_arms_and_identities_of_their_own() -> None:
    first, same, other = (Distillation(teacher=mlp(seed)) for seed in (1, 1, 2))
    arms = arms_of([first, same, other, "distillation"], discover())
    assert len(arms) == 3
    assert len({str(arm.settings()) for arm in arms}) == 3
    assert Distillation(teacher=mlp(), name="mine").name == "mine"


def test_the_training_of_the_teacher_is_counted() -> None:
    plain = train(mlp(), [], splits(), **RULES).gradient_passes
    assert train(mlp(), [Distillation()], splits(), **RULES).gradient_passes == 2 * plain


def test_off_no_teacher_is_trained() -> None:
    def fit(model: nn.Module, *regularizers: Regularizer) -> nn.Module:
        raise AssertionError("a teacher was trained")

    for member in (Distillation(0), Distillation(0, teacher=mlp(3)), Distillation(0, mode="defensive")):
        loss, terms = Objective(mlp(), [member], fit=fit)(X, F.one_hot(Y), 0)
        assert list(terms) == ["loss"]
        assert torch.equal(loss, Objective(mlp())(X, F.one_hot(Y), 0)[0])
    with pytest.raises(PluginError, match="a teacher was trained"):
        Objective(mlp(), [Distillation()], fit=fit)


def test_the_teacher_answers_in_evaluation_mode_whatever_the_student_does() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), Dropout(0.5), nn.Dropout(0.5), nn.Linear(16, 5)).double()
    objective = Objective(mlp(), [Distillation(teacher=teacher)]).train()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    assert torch.equal(objective(X, Y, 0)[0], objective(X, Y, 1)[0])
    torch.testing.assert_close(dict(objective.state_dict()), before, rtol=0, atol=0)


def test_modes_have_temperatures_and_weights_of_their_own() -> None:
    for knobs, strength, heat in (
        ({}, 0.9, 4),
        ({"mode": "defensive"}, 1, 20),
        ({"mode": "defensive", "temperature": 50.0}, 1, 50),
        ({"mode": "defensive", "strength": 0.5}, 0.5, 20),
        ({"mode": "kd", "temperature": None}, 0.9, 4),
    ):
        settings = Distillation(**knobs).settings()
        assert (settings["strength"], settings["temperature"]) == (strength, heat)
    with pytest.raises(UsageError, match=r"mode must be one of kd, defensive"):
        Distillation(mode="deffensive")
    with pytest.raises(UsageError, match="teacher must be a network, got str"):
        Distillation(teacher="resnet")  # type: ignore[arg-type]


def test_a_defended_run_keeps_the_laws_of_resuming_and_of_cohorts() -> None:
    for law in ("state_round_trip", "cohort_equals_solo", "strength_zero_is_baseline"):
        row = judge(law, Bench(Distillation, {"mode": "defensive"}))
        assert row["status"] == "passed", row["message"]


# On MNIST: Papernot's defence, and what Carlini and Wagner made of it.


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def right(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return (model(x).argmax(-1) == y).float().mean().item()


def test_the_defence_wins_naively_and_breaks_adaptively() -> None:
    data = load_data("mnist5k", seed=0, train=1000, val=10, test=200)
    x, y = next(data.test.batches(None, 200))
    plain, defended = (train(network(), how, data).model for how in ([], [Distillation(mode="defensive")]))
    assert right(plain, x, y) - right(defended, x, y) < 0.03
    naive = [right(model, fgsm(model, x, y, eps=0.3, loss="cross_entropy"), y) for model in (plain, defended)]
    assert naive[0] < 0.05
    assert naive[1] > 0.5
    # The cross-entropy of answers this sure is flat in float32; the margin of the logits is not.
    shown = x.clone().requires_grad_()
    F.cross_entropy(defended(shown), y, reduction="sum").backward()
    assert (shown.grad == 0).flatten(1).all(1).float().mean() > 0.5  # type: ignore[union-attr]
    assert right(defended, pgd(defended, x, y, eps=0.3, steps=20, loss="margin"), y) == 0
    assert right(defended, fgsm(defended, x, y, eps=0.3, loss="margin"), y) < 0.05
