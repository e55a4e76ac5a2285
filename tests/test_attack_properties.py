"""What every attack of the catalogue must keep, whoever wrote it: each fact is one that a known library broke."""

import copy
import inspect
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustreg.plugins import discover
from robustreg.threat import ThreatModel

EPS = {"linf": 0.12, "l2": 0.5}
# As the catalogue offers them, only shorter.
SHORT = {"steps": 6, "queries": 60, "draws": 4, "restarts": 2, "version": "fast"}


def short(attack):
    known = inspect.signature(attack.run).parameters
    own = {name: value for name, value in SHORT.items() if name in known and name not in attack.settings}
    return attack.with_settings(**own)


def marks(attack):
    """An attack that climbs and cannot be shortened takes its time."""
    return () if attack.weak or attack.settings else pytest.mark.slow


OFFERED = {name: short(attack) for name, attack in discover([]).offers["attacks"].items()}
EVERY = [
    pytest.param(attack, norm, id=f"{name}-{norm}", marks=marks(attack))
    for name, attack in OFFERED.items()
    for norm in attack.norms
]
every_attack = pytest.mark.parametrize(("attack", "norm"), EVERY)


def every_attack_with(knob):
    found = [case for case in EVERY if knob in inspect.signature(case.values[0].run).parameters]
    return pytest.mark.parametrize(("attack", "norm"), found)


class Alone(nn.Module):
    """A model that sees one image at a time, so that its own rounding cannot depend on the batch."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return torch.cat([self.network(one) for one in x.split(1)])


class Shifted(nn.Module):
    """The same classifier with all logits moved; they are multiples of 2**-20, so that no bit of them is lost."""

    def __init__(self, network, by):
        super().__init__()
        self.network, self.by = network, by

    def forward(self, x):
        logits = self.network(x)
        return logits + ((logits * 2**20).round() / 2**20 - logits).detach() + self.by


def images(count, dtype=torch.float64):
    """Images with some pixels that are exactly black and exactly white."""
    generator = torch.Generator().manual_seed(1)
    x = (1.4 * torch.rand(count, 1, 5, 5, generator=generator, dtype=torch.float64) - 0.2).clamp(0, 1)
    return x.to(dtype)


def network(classes=4):
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(25, 12), nn.Tanh(), nn.Linear(12, classes)).double().eval()


def said(model, x):
    with torch.no_grad():
        return model(x).argmax(-1)


def labelled(model, count, wrong=1):
    """Images with the labels the model gives them, but for the last few."""
    x = images(count)
    y = said(model, x)
    y[len(y) - wrong :] = (y[len(y) - wrong :] + 1) % model(x[:1]).shape[1]
    return x, y


def attacked(attack, model, x, y, norm, samples=None, eps=None):
    numbers = torch.arange(len(x)) if samples is None else samples
    return attack(model, x, y, eps=EPS[norm] if eps is None else eps, norm=norm, seed=3, samples=numbers)


def test_the_catalogue_offers_the_known_attacks():
    assert {"fgsm", "fgm", "rfgsm", "bim", "pgd", "uniform_noise", "corner_noise", "deepfool"} <= set(OFFERED)


@every_attack
def test_a_sample_gets_the_same_bits_in_any_batch(attack, norm):
    model = Alone(network())
    x, y = labelled(model, 12)
    whole = attacked(attack, model, x, y, norm)
    assert (whole != x).any()
    order = torch.tensor([7, 2, 11, 0, 5, 9, 1, 10, 3, 6, 8, 4])
    assert torch.equal(attacked(attack, model, x[order], y[order], norm, order), whole[order]), "permuted"
    numbers = torch.arange(12)
    parts = [attacked(attack, model, x[at], y[at], norm, at) for at in (numbers[:1], numbers[1:5], numbers[5:])]
    assert torch.equal(torch.cat(parts), whole), "split"
    # Beside images that are easy, hard and wrong already.
    more, theirs = torch.cat((x[3:6], 1 - x[:4], x)), torch.cat((y[3:6], y[:4], y))
    names = torch.cat((torch.arange(100, 107), numbers))
    assert torch.equal(attacked(attack, model, more, theirs, norm, names)[7:], whole), "padded"
    assert torch.equal(attacked(attack, model, x, y, norm), whole), "repeated"


@every_attack
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_switched_off_outside(attack, norm, mode):
    model = network()
    x, y = labelled(model, 6)
    expected = attacked(attack, model, x, y, norm)
    with mode():
        found = attacked(attack, model, x.clone(), y.clone(), norm)
    assert torch.equal(found, expected)


class Constant(nn.Module):
    def forward(self, x):
        return torch.eye(4, dtype=x.dtype)[:1].expand(len(x), 4)


class Rounded(nn.Module):
    def forward(self, x):
        return x.round().flatten(1)[:, :4]


@every_attack
@pytest.mark.parametrize("model", [Constant(), Rounded()], ids=["constant", "rounded"])
def test_a_model_without_gradients_is_attacked_without_an_error(attack, norm, model):
    x = images(8)
    moved = attacked(attack, model, x, torch.arange(8) % 4, norm)
    assert ThreatModel(norm, EPS[norm]).contains(moved, x).all()
    assert attacked(attack, model, x[:0], torch.arange(0), norm).shape == (0, 1, 5, 5)


@every_attack
def test_eps_zero_is_clean_accuracy_exactly(attack, norm):
    model = network()
    x, y = labelled(model, 12)
    moved = attacked(attack, model, x, y, norm, eps=0)
    assert torch.equal(moved, x) and moved is not x


@every_attack
@pytest.mark.parametrize("classes", [2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_images_keep_type_box_and_budget_and_carry_no_graph_for_any_number_of_classes(attack, norm, classes, dtype):
    model = network(classes).to(dtype)
    x = images(20, dtype)
    y = torch.arange(20) % classes
    for eps in (EPS[norm], 1.0 if norm == "linf" else 3.0):
        moved = attacked(attack, model, x, y, norm, eps=eps)
        assert moved.dtype == dtype and moved.shape == x.shape and moved.isfinite().all()
        assert ThreatModel(norm, eps).contains(moved, x).all()
        assert not moved.requires_grad and moved.grad_fn is None and not moved.is_inference()
        assert moved.data_ptr() != x.data_ptr()


@every_attack
@pytest.mark.parametrize("by", [-64.0, 64.0])
def test_logits_that_are_all_negative_or_all_large_give_the_same_result(attack, norm, by):
    x, y = labelled(network(), 40, wrong=4)
    plain, shifted = Shifted(network(), 0.0), Shifted(network(), by)
    assert (shifted(x) < 0).all() == (by < 0)
    first, second = (attacked(attack, model, x, y, norm) for model in (plain, shifted))
    assert torch.equal(said(plain, first), said(plain, second))
    # What was decided by a comparison of losses may differ where they tie to the last bits.
    assert ((first - second).abs().flatten(1).amax(1) < 1e-6).double().mean() >= 0.9


@every_attack
def test_images_of_exactly_black_and_white_pixels_are_attacked_too(attack, norm):
    model = network()
    x = images(40).round()
    y = said(model, x)
    moved = attacked(attack, model, x, y, norm, eps=0.5 if norm == "linf" else 2.0)
    assert (moved != x).flatten(1).any(1).all()
    if not attack.weak:
        assert (said(model, moved) != y).double().mean() > 0.5


@every_attack_with("steps")
def test_one_step_is_a_step(attack, norm):
    model = network()
    x, y = labelled(model, 12, wrong=0)
    assert (attacked(attack.with_settings(steps=1), model, x, y, norm) != x).flatten(1).any(1).all()


@every_attack_with("restarts")
def test_more_restarts_never_lose_what_fewer_broke(attack, norm):
    model = network()
    x, y = labelled(model, 60, wrong=0)
    few, many = (
        said(model, attacked(attack.with_settings(restarts=count, steps=2), model, x, y, norm)) == y for count in (1, 4)
    )
    assert not (many & ~few).any()


class Fussy(nn.Module):
    """A model with everything an attack could disturb: batch statistics, dropout, a counter, random numbers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(25, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5))
        self.last = nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12), nn.Linear(12, 4))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        torch.rand(3)
        return self.last(self.first(x))


def trace(model):
    """Everything about a model, its gradients and the random numbers of the process, to be compared."""
    return {
        "state": {name: value.clone().numpy() for name, value in model.state_dict().items()},
        "gradients": {
            name: p.grad if p.grad is None else p.grad.clone().numpy() for name, p in model.named_parameters()
        },
        "trainable": {name: p.requires_grad for name, p in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "torch": torch.get_rng_state().numpy(),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
        "settings": [torch.is_grad_enabled(), str(torch.get_default_dtype())],
    }


@every_attack
def test_a_training_model_with_a_frozen_part_is_left_as_it_was(attack, norm):
    torch.manual_seed(0)
    model = Fussy().double().train()
    model.last[1].eval()
    model.first[2].eval()
    model.first[1].weight.requires_grad_(False)
    x, y = images(16), torch.arange(16) % 4
    F.cross_entropy(model(x), y).backward()
    points, labels, before = x.clone(), y.clone(), trace(model)
    moved = attacked(attack, model, points, labels, norm)
    np.testing.assert_equal(trace(model), before)
    assert torch.equal(points, x) and points.grad is None and not points.requires_grad and torch.equal(labels, y)
    # Evaluation mode was meant: in training mode the images would be others.
    evaluated = copy.deepcopy(model).eval()
    assert torch.equal(attacked(attack, evaluated, x, y, norm), moved)


@pytest.mark.parametrize(("attack", "norm"), [case for case in EVERY if not case.values[0].weak])
def test_the_image_that_broke_the_model_inside_is_the_one_returned(attack, norm):
    # Silent success: an iterate that was wrong, and an image that is not.
    model, seen = network(), []
    x, y = labelled(model, 40, wrong=0)

    class Watched(nn.Module):
        def forward(self, image):
            logits = model(image)
            seen.append(bool((logits.detach().argmax(-1) != label).any()))
            return logits

    for index in range(40):
        label = y[index]
        seen.clear()
        moved = attacked(attack, Watched(), x[index : index + 1], y[index : index + 1], norm, torch.tensor([index]))
        assert bool(said(model, moved) != label) == any(seen)
