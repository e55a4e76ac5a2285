"""The laws hold for everything the catalogue offers, and each of them can fail."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustreg import testing
from robustreg.hookspecs import Loss, Predict, hookimpl
from robustreg.noise import Rng
from robustreg.plugins import discover
from robustreg.regularizer import Knob, Regularizer, scaled
from robustreg.testing import LAWS, check
from robustreg.testing.bench import Bench
from robustreg.testing.laws import EDITABLE
from robustreg.testing.runner import judge

OFFERED = discover().offers["regularizers"]
ALL_BUT_BATCHES = {**dict.fromkeys(LAWS, "passed"), "learns_from_images": "skipped"}


def status(rows: list[dict[str, str]]) -> dict[str, str]:
    return {row["check"]: row["status"] for row in rows}


@pytest.mark.parametrize("name", OFFERED)
def test_every_regularizer_of_the_catalogue_keeps_the_laws(name: str) -> None:
    rows = check(OFFERED[name])
    assert list(LAWS) == [row["check"] for row in rows]
    assert [row for row in rows if row["status"] == "failed"] == []
    skipped = [row["check"] for row in rows if row["status"] == "skipped"]
    hooks = [hook for hook in EDITABLE if hasattr(getattr(OFFERED[name], hook, None), "robustreg_impl")]
    of_no_use = {"arguments_not_edited": not hooks, "learns_from_images": "batch" not in hooks}
    assert skipped == [law for law, so in of_no_use.items() if so]


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("dropout", {"layers": "all", "input": 0.2}),
        ("l2", {"params": "all", "strength": 0.1}),
        ("flip", {"vertical": 0.5}),
        ("fgsm_training", {"clean": 0.5}),
        ("early_stopping", {"monitor": "nll", "strength": 1}),
        ("step", {"drops": 1}),
        ("mixup", {"strength": 0.2}),
    ],
)
def test_the_laws_hold_at_other_knobs(name: str, knobs: dict[str, object]) -> None:
    assert [row for row in check(OFFERED[name], **knobs) if row["status"] == "failed"] == []


class Good(Regularizer):
    """A penalty on the logits that keeps every law."""

    name = "good"

    @hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        return {self.name: self.strength.to(logits.dtype) * logits.square().mean()}


class NoDocstring(Regularizer):
    name = "no_docstring"


class NotMarked(Regularizer):
    """A hook without its mark, which would silently do nothing."""

    name = "not_marked"

    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        return {self.name: logits.mean()}


class Misspelt(Regularizer):
    """A hook that does not exist."""

    name = "misspelt"

    @hookimpl
    def penality(self, logits: Tensor) -> dict[str, Tensor]:
        return {self.name: logits.mean()}


class BadName(Regularizer):
    """A name that cannot be typed."""

    name = "two words"


class BadTask(Regularizer):
    """A task that does not exist."""

    name = "bad_task"
    tasks: ClassVar[tuple[str, ...]] = ("clustering",)


class BadDefault(Regularizer):
    """A default outside its own range."""

    name = "bad_default"
    strength = Knob(2.0, high=1)


class AlwaysOn(Regularizer):
    """A penalty that forgets its strength."""

    name = "always_on"

    @hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        return {self.name: 0.1 * logits.square().mean()}


class NotANumberAtZero(Regularizer):
    """A division by strength."""

    name = "not_a_number_at_zero"

    @hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        strength = self.strength.to(logits.dtype)
        return {self.name: strength * (logits / strength).square().mean()}


class BatchNormTrace(Regularizer):
    """A second forward pass of its own, which moves the running statistics of BatchNorm even when off."""

    name = "batchnorm_trace"

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        self.network: list[nn.Module] = []

    @hookimpl
    def prepare(self, model: nn.Module) -> None:
        self.network = [model]

    @hookimpl
    def batch(self, x: Tensor) -> None:
        self.network[0](x)


class TooBright(Regularizer):
    """Contrast that is not clamped."""

    name = "too_bright"

    @hookimpl
    def batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x * (1 + self.strength.to(x.dtype)), y


class NoDistributions(TooBright):
    """Weights of images in their labels."""

    name = "no_distributions"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    @hookimpl
    def batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, y * (1 + self.strength.to(y.dtype))


class EditsX(Regularizer):
    """Noise added in place."""

    name = "edits_x"

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        return x.add_(self.strength.to(x.dtype) * rng.normal(*x.shape)), y


class EditsY(EditsX):
    """Label smoothing in place."""

    name = "edits_y"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    @hookimpl
    def batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return x, y.mul_(1 - 0.1 * self.strength.to(y.dtype))


class EditsTheTrainingSet(Regularizer):
    """Noise on all images, in place."""

    name = "edits_the_training_set"

    @hookimpl
    def before_epoch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        return x.add_(self.strength.to(x.dtype) * rng.normal(*x.shape)), y


class EditsGradients(Regularizer):
    """Clipping in place."""

    name = "edits_gradients"

    @hookimpl
    def gradient(self, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: value.clamp_(-0.01, 0.01) for name, value in gradients.items()}


class EditsTheLastWeights(Regularizer):
    """An average in the place of the last weights."""

    name = "edits_the_last_weights"

    @hookimpl
    def after_step(self, params: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: value.lerp_(params[name], 0.5) for name, value in before.items()}


class CountsInPython(Regularizer):
    """Shrinks the weights less with every step, and counts these in Python."""

    name = "counts_in_python"
    count = 0

    @hookimpl
    def after_step(self, params: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        self.count += 1
        return {name: value * (1 - 0.1 * self.strength / self.count).to(value.dtype) for name, value in params.items()}


class EditsLogits(Regularizer):
    """A penalty that clips the logits in place."""

    name = "edits_logits"

    @hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        return {self.name: self.strength.to(logits.dtype) * logits.data.mul_(0.5).square().mean()}


class EditsParams(Regularizer):
    """A projection of the weights inside a penalty."""

    name = "edits_params"

    @hookimpl
    def penalty(self, params: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for value in params.values():
                value.mul_(1 - 0.1 * self.strength.to(value.dtype))


class PythonState(Regularizer):
    """A counter in Python, which no state_dict sees."""

    name = "python_state"
    epochs = 0

    @hookimpl
    def after_epoch(self) -> None:
        self.epochs += 1

    @hookimpl
    def learning_rate(self) -> float:
        return 1 / (1 + float(self.strength) * self.epochs)


class LooksAtNumbers(Regularizer):
    """A Python `if` on a tensor, which vmap cannot follow."""

    name = "looks_at_numbers"

    @hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor] | None:
        return {self.name: self.strength.to(logits.dtype) * logits.mean()} if logits.mean() > 0 else None


class MixesRuns(Regularizer):
    """A strength frozen as a Python number when made: in a cohort every run would have that of the first."""

    name = "mixes_runs"

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        self.frozen = float(self.strength)

    @hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        return {self.name: self.frozen * logits.square().mean()}


class MixesBatches(Regularizer):
    """The same, in the batch: the noise of every run would have the size of the first run's."""

    name = "mixes_batches"

    def __init__(self, strength: float | None = None, **knobs: object) -> None:
        super().__init__(strength, **knobs)  # type: ignore[arg-type]
        self.frozen = float(self.strength)

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        return x + self.frozen * rng.normal(*x.shape), y


class CutsGradients(Regularizer):
    """A penalty through `torch.autograd.grad`, which does not run inside vmap."""

    name = "cuts_gradients"

    @hookimpl
    def penalty(self, x: Tensor, y: Tensor, loss: Loss) -> dict[str, Tensor]:
        image = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(image, y), image, create_graph=True)
        return {self.name: self.strength.to(x.dtype) * slope.square().sum()}


class Infinite(Regularizer):
    """The root of a sum of squares, which has no slope at 0."""

    name = "infinite"

    @hookimpl
    def penalty(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        norms = [value.square().sum().sqrt() for value in params.values()]
        return {self.name: self.strength.to(norms[0].dtype) * torch.stack(norms).sum()}


class OneImage(Regularizer):
    """A standard deviation over the batch, which a batch of one does not have."""

    name = "one_image"

    @hookimpl
    def penalty(self, logits: Tensor) -> dict[str, Tensor]:
        return {self.name: self.strength.to(logits.dtype) * logits.std(0).mean()}


class TorchNoise(Regularizer):
    """Noise from torch's global generator."""

    name = "torch_noise"

    @hookimpl
    def batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x + self.strength.to(x.dtype) * torch.randn_like(x), y


class NumpyNoise(Regularizer):
    """Noise from NumPy's global generator."""

    name = "numpy_noise"

    @hookimpl
    def learning_rate(self) -> float:
        return 1 + float(self.strength) * 0.1 * np.random.rand()


class FreezesTheNetwork(Regularizer):
    """Evaluation mode for a pass of its own, and not back."""

    name = "freezes_the_network"

    @hookimpl
    def prepare(self, model: nn.Module) -> None:
        self.network = [model]

    @hookimpl
    def penalty(self, x: Tensor, predict: Predict) -> dict[str, Tensor]:
        self.network[0].eval()
        return {self.name: self.strength.to(x.dtype) * predict(x).square().mean()}


class LeavesGradients(FreezesTheNetwork):
    """A backward pass inside a hook."""

    name = "leaves_gradients"

    @hookimpl
    def penalty(self, x: Tensor, y: Tensor, loss: Loss) -> None:  # type: ignore[override]
        loss(x, y).backward()


class Wraps(Regularizer):
    """A network around the network: the names of all layers change, and with them the keys of their noise."""

    name = "wraps"

    @hookimpl
    def prepare(self, model: nn.Module) -> nn.Module:
        return nn.Sequential(model) if self.strength else model


class StealsNoise(Regularizer):
    """Another way to split a generator, from its batch hook to its penalty hook."""

    name = "steals_noise"
    split = Rng.split

    @hookimpl
    def batch(self) -> None:
        Rng.split = lambda self, name, into=None: Rng(self.key, self.device)  # type: ignore[method-assign,assignment]

    @hookimpl
    def penalty(self) -> None:
        Rng.split = StealsNoise.split  # type: ignore[method-assign]


class PythonNoise(Regularizer):
    """A schedule that draws from Python's global generator."""

    name = "python_noise"

    @hookimpl
    def learning_rate(self) -> float:
        return 1 - float(self.strength) * random.random() / 2


class Forgets(Regularizer):
    """Counts its steps in a tensor that it puts in the place of the one before, which no stack of runs sees."""

    name = "forgets"

    def __init__(self, strength: float | None = None, **knobs: Any) -> None:
        super().__init__(strength, **knobs)
        self.register_buffer("steps", torch.tensor(0.0))

    @hookimpl
    def penalty(self, logits: Tensor) -> Mapping[str, Tensor]:
        self.steps = self.steps + 1.0
        return {self.name: scaled(self.strength, 0.01 * self.steps.to(logits.dtype) * logits.square().mean())}


class Exits(Regularizer):
    """A plugin that ends the program."""

    name = "exits"

    @hookimpl
    def penalty(self) -> None:
        raise SystemExit("bye")


BROKEN = [
    ("registers_cleanly", NoDocstring, "docstring"),
    ("registers_cleanly", NotMarked, "@hookimpl"),
    ("registers_cleanly", Misspelt, "penality"),
    ("registers_cleanly", BadName, "two words"),
    ("registers_cleanly", BadTask, "clustering"),
    ("registers_cleanly", BadDefault, "[0, 1]"),
    ("registers_cleanly", int, "Regularizer"),
    ("strength_zero_is_baseline", AlwaysOn, "at strength 0"),
    ("strength_zero_is_baseline", NotANumberAtZero, "at strength 0"),
    ("strength_zero_is_baseline", BatchNormTrace, "running_mean"),
    ("arguments_not_edited", EditsX, "x"),
    ("arguments_not_edited", EditsY, "y"),
    ("arguments_not_edited", EditsLogits, "logits"),
    ("arguments_not_edited", EditsParams, "weight"),
    ("arguments_not_edited", EditsTheTrainingSet, "the training set's x"),
    ("arguments_not_edited", EditsGradients, "the gradient of"),
    ("arguments_not_edited", EditsTheLastWeights, "before the update"),
    ("learns_from_images", TooBright, "clamp"),
    ("learns_from_images", NoDistributions, "no distributions"),
    ("state_round_trip", PythonState, "buffers"),
    ("state_round_trip", CountsInPython, "buffers"),
    ("vectorized_equals_solo", LooksAtNumbers, "vmap"),
    ("vectorized_equals_solo", CutsGradients, "vmap"),
    ("vectorized_equals_solo", TorchNoise, "vmap"),
    ("vectorized_equals_solo", MixesRuns, "in run 1"),
    ("vectorized_equals_solo", MixesBatches, "another x"),
    ("cohort_equals_solo", LooksAtNumbers, "vmap"),
    ("cohort_equals_solo", MixesRuns, "plain Python value"),
    ("cohort_equals_solo", Forgets, "replaces the buffer"),
    ("finite", Infinite, "not finite"),
    ("finite", OneImage, "one image"),
    ("global_state_untouched", TorchNoise, "torch"),
    ("global_state_untouched", NumpyNoise, "NumPy"),
    ("global_state_untouched", FreezesTheNetwork, "modes"),
    ("global_state_untouched", LeavesGradients, ".grad"),
    ("others_noise_untouched", Wraps, "a layer of the network"),
    ("others_noise_untouched", StealsNoise, "another regularizer"),
    ("same_seed_same_weights", PythonNoise, "one seed"),
    ("finite", Exits, "SystemExit"),
]


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize(("law", "bad", "says"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_each_law_can_fail(law: str, bad: type, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rng, "split", Rng.split)  # so that StealsNoise is undone
    row = judge(law, Bench(bad, {}))
    assert row["status"] == "failed"
    assert says in row["message"]


def test_every_law_has_a_regularizer_that_breaks_it() -> None:
    assert set(LAWS) == {law for law, _, _ in BROKEN}


def test_a_plain_penalty_passes_every_law() -> None:
    assert status(check(Good)) == ALL_BUT_BATCHES


def test_when_it_cannot_be_made_the_other_laws_are_skipped() -> None:
    rows = check(Misspelt)
    assert ["failed", *["skipped"] * (len(LAWS) - 1)] == [row["status"] for row in rows]
    assert rows[1]["message"] == "registers_cleanly failed"


def test_a_wrong_knob_is_a_row_and_not_an_exception() -> None:
    row = check(Good, strenght=1)[0]
    assert row["status"] == "failed"
    assert "strenght" in row["message"]


def test_a_classification_regularizer_is_not_tried_in_regression() -> None:
    row = next(row for row in check(OFFERED["label_smoothing"]) if row["check"] == "finite")
    assert "regression" not in row["message"]


def test_a_regression_regularizer_is_tried_in_regression() -> None:
    class OnlyRegression(Good):
        """Good, for regression."""

        name = "only_regression"
        tasks: ClassVar[tuple[str, ...]] = ("regression",)

    rows = check(OnlyRegression)
    assert status(rows) == ALL_BUT_BATCHES
    assert "in regression" in next(row["message"] for row in rows if row["check"] == "finite")


def test_checking_leaves_every_global_random_state_alone() -> None:
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    for bad in (PythonNoise, NumpyNoise, TorchNoise):
        judge("same_seed_same_weights", Bench(bad, {}))
        judge("global_state_untouched", Bench(bad, {}))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert states[2] == np.random.get_state()[1].tolist()  # type: ignore[index]


def test_a_check_takes_well_under_three_seconds() -> None:
    times = []
    for _ in range(3):  # the best of some, in processor time: the machine may be busy with something else
        started = time.process_time()
        check(OFFERED["fgsm_training"])
        times.append(time.process_time() - started)
    assert min(times) < 3


@testing.parametrize(Good, [OFFERED["l2"]])
def test_parametrize_gives_pytest_a_row_a_law(row: dict[str, str]) -> None:
    assert row["status"] == ALL_BUT_BATCHES[row["check"]], row["message"]
