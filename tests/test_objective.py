"""The objective: the merge rules of the training hooks, and errors that name plugin and hook."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustreg import layers
from robustreg.errors import PluginError, RobustregError, UsageError
from robustreg.hookspecs import Loss, Predict, hookimpl
from robustreg.noise import Rng
from robustreg.objective import Objective
from robustreg.regularizer import Regularizer

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(6, 1, 4, 4, generator=GENERATOR)
Y = torch.tensor([0, 1, 2, 2, 1, 0])
ROWS = torch.eye(3)[Y]
TARGETS = torch.randn(6, 3, generator=GENERATOR)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def normalized() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def toy(name: str, **hooks: Callable[..., Any]) -> Regularizer:
    """A regularizer with these functions as its hooks."""
    marked = {key: hookimpl(value) if not hasattr(value, "robustreg_impl") else value for key, value in hooks.items()}
    return type("Toy", (Regularizer,), {"name": name, "__doc__": "A toy.", **marked})()  # type: ignore[no-any-return]


# The merge rules.


def test_without_regularizers_the_loss_is_cross_entropy_and_the_only_term() -> None:
    model = linear()
    loss, terms = Objective(model)(X, Y, 0)
    torch.testing.assert_close(loss, F.cross_entropy(model(X), Y))
    assert list(terms) == ["loss"]


@pytest.mark.parametrize("watched", [True, False])
def test_labels_give_the_same_gradients_as_their_one_hot_rows_bit_for_bit(watched: bool) -> None:
    looks = [toy("looks", batch=lambda self, x, y: (x, y))] if watched else []  # else labels need not become rows
    labels, rows = Objective(normalized(), looks), Objective(normalized(), copy.deepcopy(looks))
    first, second = labels(X, Y, 0)[0], rows(X, ROWS, 0)[0]
    torch.testing.assert_close(first, second, rtol=1e-6, atol=0)  # a mean in another order
    for loss in (first, second):
        loss.backward()
    for one, two in zip(labels.network.parameters(), rows.network.parameters(), strict=True):
        assert one.grad is not None and two.grad is not None
        assert torch.equal(one.grad, two.grad)
    assert labels.passes == rows.passes == 1
    for name, buffer in labels.named_buffers():
        assert torch.equal(buffer, rows.get_buffer(name))


def test_looking_at_labels_takes_nothing_from_the_random_stream_of_torch() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
    losses = []
    for y in (Y, ROWS):
        torch.manual_seed(5)
        looks = toy("looks", batch=lambda self, x, y: (x, y))
        losses.append(Objective(copy.deepcopy(model), [looks])(X, y, 0)[0].detach())
    assert torch.equal(losses[0], losses[1])


def test_soft_rows_are_their_expected_cross_entropy() -> None:
    model, rows = linear(), TARGETS.softmax(-1)
    loss, _ = Objective(model)(X, rows, 0)
    torch.testing.assert_close(loss, F.cross_entropy(model(X), rows))


def test_regression_is_the_mean_squared_error() -> None:
    model = linear()
    loss, _ = Objective(model, task="regression")(X, TARGETS, 0)
    torch.testing.assert_close(loss, F.mse_loss(model(X), TARGETS))


def test_batches_are_chained_in_the_order_typed() -> None:
    double, add = (
        toy("twice", batch=lambda self, x, y: (x * 2, y)),
        toy("add", batch=lambda self, x, y: (x + 1, y)),
    )
    seen: list[Tensor] = []
    look = toy("look", penalty=lambda self, x: seen.append(x))
    Objective(linear(), [double, add, look])(X, Y, 0)
    Objective(linear(), [add, double, look])(X, Y, 0)
    assert torch.equal(X * 2 + 1, seen[0])
    assert torch.equal((X + 1) * 2, seen[1])


def test_trylast_runs_last_and_several_of_them_in_the_order_typed() -> None:
    calls: list[str] = []

    def member(name: str, **order: bool) -> Regularizer:
        return toy(name, batch=hookimpl(lambda self: calls.append(name), **order))

    members = [member("late", trylast=True), member("a"), member("later", trylast=True), member("b")]
    members += [member("early", tryfirst=True), member("earlier", tryfirst=True)]
    Objective(linear(), members)(X, Y, 0)
    assert calls[2:] == ["a", "b", "late", "later"]
    assert set(calls[:2]) == {"early", "earlier"}


def test_penalties_are_summed_and_keep_their_names() -> None:
    one = toy("one", penalty=lambda self, logits: {"one": logits.sum(), "half": logits.mean()})
    two = toy("two", penalty=lambda self, params: {"two": sum(value.sum() for value in params.values())})
    loss, terms = Objective(linear(), [one, toy("nothing", penalty=lambda self: None), two])(X, Y, 0)
    assert list(terms) == ["loss", "one", "half", "two"]
    torch.testing.assert_close(loss, sum(terms.values()))
    torch.testing.assert_close(terms["two"], sum(value.sum() for value in linear().parameters()))


def test_penalties_see_the_batch_that_was_learned_from() -> None:
    seen: dict[str, Tensor] = {}
    change = toy("change", batch=lambda self, x, y: (x / 2, y.flip(1)))
    look = toy("look", penalty=lambda self, x, y, logits: seen.update(x=x, y=y, logits=logits))
    model = linear()
    Objective(model, [look, change])(X, Y, 0)
    assert torch.equal(X / 2, seen["x"])
    assert torch.equal(ROWS.flip(1), seen["y"])
    assert torch.equal(model(X / 2), seen["logits"])


def test_learning_rates_multiply() -> None:
    half = toy("by_half", learning_rate=lambda self: 0.5)
    line = toy("line", learning_rate=lambda self, progress: 1 - progress)
    base = toy("base", learning_rate=lambda self, base: torch.tensor(base))
    nothing = toy("nothing", learning_rate=lambda self: None)
    objective = Objective(linear(), [half, line, nothing, base])
    assert objective.learning_rate(0.25, 2.0) == 0.5 * 0.75 * 2.0
    assert Objective(linear()).learning_rate(0.25, 2.0) == 1.0


def test_any_regularizer_may_stop_and_all_are_told() -> None:
    told: list[int] = []
    members = [
        toy("stop", after_epoch=lambda self, epoch: told.append(epoch) or True),
        toy("go", after_epoch=lambda self, epoch: told.append(epoch)),
        toy("no", after_epoch=lambda self, metrics: torch.tensor(metrics["val_accuracy"] > 2)),
    ]
    assert Objective(linear(), members).after_epoch(3, {"val_accuracy": 1.0})
    assert told == [3, 3]
    assert not Objective(linear(), members[1:]).after_epoch(3, {"val_accuracy": 1.0})


def test_prepare_and_finish_are_chained() -> None:
    class Scale(nn.Module):
        def __init__(self, model: nn.Module, factor: float) -> None:
            super().__init__()
            self.model, self.factor = model, factor

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * self.model(x)

    ten = toy("ten", prepare=lambda self, model: Scale(model, 10), finish=lambda self, model: Scale(model, 3))
    two = toy("two", prepare=lambda self, model: Scale(model, 2), finish=lambda self, model: None)
    objective = Objective(linear(), [ten, two])
    assert [objective.network.factor, objective.network.model.factor] == [2, 10]  # type: ignore[union-attr]
    finished = objective.finish()
    torch.testing.assert_close(finished(X), 60 * linear()(X))


def test_an_empty_container_is_a_network_too() -> None:
    """An empty nn.Sequential is false to Python, and is the identity."""
    objective = Objective(linear(), [toy("empty", prepare=lambda self, model: nn.Sequential())])
    assert torch.equal(X, objective.network(X))


def test_an_argument_with_a_default_gets_its_value_all_the_same() -> None:
    seen: list[Any] = []
    Objective(linear(), [toy("default", penalty=lambda self, x, rng=None: seen.append(rng))])(X, Y, 0)
    assert isinstance(seen[0], Rng)


# What a hook can ask of the network.


def test_predict_and_loss_are_the_network_without_a_trace() -> None:
    found: dict[str, Tensor] = {}

    def penalty(self: Regularizer, x: Tensor, y: Tensor, predict: Predict, loss: Loss) -> None:
        found.update(logits=predict(x + 0.1), loss=loss(x, y), slope=torch.func.grad(lambda image: loss(image, y))(x))

    objective, plain = Objective(normalized(), [toy("ask", penalty=penalty)]), Objective(normalized())
    objective(X, Y, 0)
    expected, _ = plain(X, Y, 0)
    torch.testing.assert_close(found["loss"], expected)
    torch.testing.assert_close(found["logits"], normalized()(X + 0.1))
    for name, buffer in plain.network.named_buffers():
        assert torch.equal(buffer, objective.network.get_buffer(name))
    assert objective.passes == 4
    image = X.clone().requires_grad_()
    torch.testing.assert_close(found["slope"], torch.autograd.grad(F.cross_entropy(normalized()(image), Y), image)[0])


def test_predict_can_look_at_other_weights() -> None:
    found: list[Tensor] = []

    def penalty(self: Regularizer, params: dict[str, Tensor], x: Tensor, predict: Predict) -> None:
        found.append(predict(x, {name: 2 * value for name, value in params.items()}))

    Objective(linear(), [toy("other", penalty=penalty)])(X, Y, 0)
    torch.testing.assert_close(found[0], 2 * linear()(X))


def test_all_passes_of_one_step_see_the_same_dropout() -> None:
    found: list[Tensor] = []

    def penalty(self: Regularizer, x: Tensor, logits: Tensor, predict: Predict) -> None:
        found.extend((logits, predict(x)))

    model = nn.Sequential(nn.Flatten(), layers.Dropout(0.5), nn.Linear(16, 3))
    objective = Objective(model, [toy("ask", penalty=penalty)])
    for key in (0, 1):
        objective(X, Y, key)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[2], found[3])
    assert not torch.equal(found[0], found[2])


def test_noisy_layers_have_noise_of_their_own_and_lose_their_key_after_the_step() -> None:
    first, second = layers.Dropout(0.5), layers.Dropout(0.5)
    masks: list[Tensor] = []
    for layer in (first, second):
        layer.register_forward_hook(lambda module, inputs, output: masks.append(output / inputs[0]))
    plus = nn.Linear(16, 16)
    Objective(nn.Sequential(nn.Flatten(), first, plus, second, nn.Linear(16, 3)))(X, Y, 0)
    assert len(masks) == 2
    assert not torch.equal(masks[0], masks[1])
    assert first.key is None
    assert second.key is None


def test_each_regularizer_has_noise_of_its_own_whoever_else_is_there() -> None:
    drawn: dict[str, list[Tensor]] = {"a": [], "b": []}

    def member(name: str) -> Regularizer:
        return toy(name, batch=lambda self, rng: drawn[name].append(rng.uniform(5)))

    Objective(linear(), [member("a"), member("b")])(X, Y, 7)
    Objective(linear(), [member("b")])(X, Y, 7)
    Objective(linear(), [member("b"), member("a")])(X, Y, 7)
    assert not torch.equal(drawn["a"][0], drawn["b"][0])
    assert torch.equal(drawn["b"][0], drawn["b"][1])
    assert torch.equal(drawn["b"][0], drawn["b"][2])
    assert torch.equal(drawn["a"][0], drawn["a"][1])


# Errors name the plugin and the hook.

BROKEN = [
    ("penality", {"penality": lambda self: None}, "penality"),
    ("weights", {"penalty": lambda self, weights: None}, "weights"),
    ("batch() list", {"batch": lambda self, x, y: [x, y]}, "batch() must return the pair (x, y)"),
    ("batch() tensor", {"batch": lambda self, x, y: x}, "batch() must return the pair (x, y)"),
    ("penalty() tensor", {"penalty": lambda self, logits: logits.sum()}, "must return Mapping or None, got Tensor"),
    ("penalty() float", {"penalty": lambda self: {"term": 0.5}}, "'term' must be a scalar tensor, got float"),
    ("penalty() vector", {"penalty": lambda self, logits: {"term": logits[:, 0]}}, "scalar tensor, got (6,)"),
    ("penalty() loss", {"penalty": lambda self, logits: {"loss": logits.sum()}}, "'loss', which another one"),
    ("prepare()", {"prepare": lambda self, model: "model"}, "prepare() must return Module or None, got str"),
    ("finish()", {"finish": lambda self, model: 3}, "finish() must return Module or None, got int"),
    ("learning_rate()", {"learning_rate": lambda self: "0.1"}, "learning_rate() must return float or None, got str"),
    ("after_epoch()", {"after_epoch": lambda self: "stop"}, "after_epoch() must return bool or None, got str"),
    ("raises", {"batch": lambda self, x: 1 / 0}, "failed in batch(): ZeroDivisionError"),
    ("raises in prepare", {"prepare": lambda self: [][0]}, "failed in prepare(): IndexError"),
]


@pytest.mark.parametrize(("hooks", "says"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_an_error_names_the_regularizer_its_module_and_the_hook(hooks: dict[str, Any], says: str) -> None:
    for hook in hooks.values():
        if callable(hook) and hook.__name__ == "<lambda>":
            hook.__name__ = next(iter(hooks))
    with pytest.raises(PluginError) as caught:
        objective = Objective(linear(), [toy("mine", **hooks)])
        objective(X, Y, 0)
        objective.learning_rate(0.5, 0.1)
        objective.after_epoch(0, {})
        objective.finish()
    message = str(caught.value)
    assert "regularizer 'mine' (" in message
    assert says in message


def test_two_regularizers_with_one_term_name_are_an_error_of_the_second() -> None:
    first, second = (toy(name, penalty=lambda self, logits: {"same": logits.sum()}) for name in ("first", "second"))
    with pytest.raises(PluginError, match=r"regularizer 'second' .*names a term 'same'"):
        Objective(linear(), [first, second])(X, Y, 0)


def test_the_cause_is_kept_and_our_own_errors_pass_through() -> None:
    def explain(self: Regularizer) -> None:
        raise UsageError("say it plainly")

    with pytest.raises(PluginError) as caught:
        Objective(linear(), [toy("mine", batch=lambda self, x: 1 / 0)])(X, Y, 0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(UsageError, match=r"^say it plainly$"):
        Objective(linear(), [toy("mine", batch=explain)])(X, Y, 0)


def test_a_built_in_error_names_distribution_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: {"robustreg": ["robustreg"]})
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.2.3")
    hook = hookimpl(lambda self: None)
    toy_class = type("Toy", (Regularizer,), {"name": "mine", "__module__": "robustreg.mine", "penality": hook})
    with pytest.raises(PluginError, match=r"regularizer 'mine' \(robustreg 1\.2\.3\)"):
        Objective(linear(), [toy_class()])


def test_wrappers_are_refused() -> None:
    def penalty(self: Regularizer) -> Any:
        return (yield)

    with pytest.raises(PluginError, match=r"penalty\(\) must not be a wrapper"):
        Objective(linear(), [toy("wrapper", penalty=hookimpl(penalty, wrapper=True))])


@pytest.mark.parametrize(
    ("members", "says"),
    [
        (lambda: [toy("same"), toy("same")], "two regularizers are called 'same'"),
        (lambda: [Regularizer], "must be a robustreg.Regularizer instance"),
        (lambda: ["l1:1e-3"], "must be a robustreg.Regularizer instance"),
        (lambda: [toy("forward")], "rename the regularizer"),
        (lambda: [toy("with.dot")], "rename the regularizer"),
    ],
)
def test_members_that_cannot_be_used_are_refused(members: Callable[[], list[Any]], says: str) -> None:
    with pytest.raises(RobustregError, match=says):
        Objective(linear(), members())


def test_two_instances_of_one_regularizer_need_two_names() -> None:
    class Sum(Regularizer):
        """The sum of the logits."""

        name = "sum"

        @hookimpl
        def penalty(self, logits: Tensor) -> dict[str, Tensor]:
            return {self.name: logits.sum()}

    _, terms = Objective(linear(), [Sum(), Sum(name="again")])(X, Y, 0)
    assert list(terms) == ["loss", "sum", "again"]


def test_a_regularizer_that_does_not_fit_the_task_is_refused() -> None:
    class Classes(Regularizer):
        """For classification."""

        name = "classes"
        tasks: ClassVar[tuple[str, ...]] = ("classification",)

    with pytest.raises(UsageError, match="'classes' works for classification, not for regression"):
        Objective(linear(), [Classes()], task="regression")
    with pytest.raises(UsageError, match="task must be"):
        Objective(linear(), task="clustering")


def test_gradients_are_those_of_the_sum_of_the_terms() -> None:
    model, again = linear(), linear()
    ridge = toy("ridge", penalty=lambda self, params: {"ridge": sum(v.square().sum() for v in params.values())})
    Objective(model, [ridge])(X, Y, 0)[0].backward()
    total = F.cross_entropy(again(X), Y) + sum(value.square().sum() for value in again.parameters())
    total.backward()
    for found, expected in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)
