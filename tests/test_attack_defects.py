"""The properties of every attack bite: attacks with the defects of known libraries are found out by them."""

import runpy
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from robustreg.attacks import Attack, pgd, uniform_noise
from robustreg.threat import ThreatModel

PROPERTIES = runpy.run_path(str(Path(__file__).with_name("test_attack_properties.py")))
SIZES = {"classes": 3, "dtype": torch.float64}


def gradient(model, x, y, loss=F.cross_entropy):
    image = x.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(model(image), y), image)
    return slope


def whole_batch_norm(model, x, y, *, eps, norm, seed, samples):
    slope = gradient(model, x, y, lambda z, y: F.cross_entropy(z, y, reduction="sum"))
    return ThreatModel(norm, eps).project(x + eps * slope / slope.norm(), x)


def global_seed(model, x, y, *, eps, norm, seed, samples):
    torch.manual_seed(seed)
    return ThreatModel(norm, eps).project(x + eps * (2 * torch.rand_like(x) - 1), x)


def in_training_mode(model, x, y, *, eps, norm, seed, samples):
    return ThreatModel(norm, eps).project(x + eps * gradient(model, x, y).sign(), x)


def backward(model, x, y, *, eps, norm, seed, samples):
    image = x.clone().requires_grad_()
    F.cross_entropy(model.eval()(image), y).backward()
    return ThreatModel(norm, eps).project(x + eps * image.grad.sign(), x)


def keeps_the_graph(model, x, y, *, eps, norm, seed, samples):
    return ThreatModel(norm, eps).project(x.clone().requires_grad_() + eps, x)


def through_float32(model, x, y, *, eps, norm, seed, samples):
    return ThreatModel(norm, eps).project(x + 0.5 * eps, x).float()


def out_of_the_box(model, x, y, *, eps, norm, seed, samples):
    return x + eps * gradient(model, x, y).sign()


def floor_at_zero(model, x, y, *, eps, norm, seed, samples):
    def gap(z, y):
        own = F.one_hot(y, z.shape[1])
        return (((1 - own) * z).amax(1) - (own * z).amax(1)).sum()

    return ThreatModel(norm, eps).project(x + eps * gradient(model, x, y, gap).sign(), x)


def through_tanh(model, x, y, *, eps, norm, seed, samples):
    moved = torch.tanh(torch.atanh(2 * x - 1) + 1e-3) / 2 + 0.5
    return ThreatModel(norm, eps).project(torch.where(x == moved.round(), x, moved), x)


def dlr_of_four_classes(model, x, y, *, eps, norm, seed, samples):
    model(x).sort(1).values[:, -4]
    return ThreatModel(norm, eps).project(x + 0.5 * eps, x)


def start_without_budget(model, x, y, *, eps, norm, seed, samples):
    return (x + 1e-3 * torch.sign(0.5 - x)).clamp(0, 1)


def last_update_lost(model, x, y, *, eps, norm, seed, samples, steps=1):
    image = x.clone()
    for _ in range(steps):
        best, image = image, ThreatModel(norm, eps).project(image + eps * gradient(model, image, y).sign(), x)
    return best


def last_restart(model, x, y, *, eps, norm, seed, samples, restarts=1, steps=1):
    return uniform_noise(
        model, x, y, eps=eps, norm=norm, draws=1, seed=restarts, samples=samples
    )  # fmt: skip


def last_iterate(model, x, y, *, eps, norm, seed, samples):
    image = x.clone()
    for step in (eps, -eps):
        image = ThreatModel(norm, eps).project(image + step * gradient(model, image, y).sign(), x)
        model(image)
    return image


CASES = [
    (whole_batch_norm, "a_sample_gets_the_same_bits_in_any_batch", {}),
    (global_seed, "a_sample_gets_the_same_bits_in_any_batch", {}),
    (global_seed, "a_training_model_with_a_frozen_part_is_left_as_it_was", {}),
    (in_training_mode, "a_training_model_with_a_frozen_part_is_left_as_it_was", {}),
    (backward, "a_training_model_with_a_frozen_part_is_left_as_it_was", {}),
    (keeps_the_graph, "images_keep_type_box_and_budget_and_carry_no_graph_for_any_number_of_classes", SIZES),
    (through_float32, "images_keep_type_box_and_budget_and_carry_no_graph_for_any_number_of_classes", SIZES),
    (out_of_the_box, "images_keep_type_box_and_budget_and_carry_no_graph_for_any_number_of_classes", SIZES),
    (dlr_of_four_classes, "images_keep_type_box_and_budget_and_carry_no_graph_for_any_number_of_classes", SIZES),
    (floor_at_zero, "logits_that_are_all_negative_or_all_large_give_the_same_result", {"by": -64.0}),
    (through_tanh, "images_of_exactly_black_and_white_pixels_are_attacked_too", {}),
    (start_without_budget, "eps_zero_is_clean_accuracy_exactly", {}),
    (last_update_lost, "one_step_is_a_step", {}),
    (last_restart, "more_restarts_never_lose_what_fewer_broke", {}),
    (last_iterate, "the_image_that_broke_the_model_inside_is_the_one_returned", {}),
]


@pytest.mark.parametrize(("run", "fact", "more"), CASES)
def test_a_known_defect_is_found(run, fact, more):
    with pytest.raises(IndexError if run is dlr_of_four_classes else AssertionError):
        PROPERTIES[f"test_{fact}"](Attack("defective", run, ""), "l2" if run is whole_batch_norm else "linf", **more)


def test_the_same_step_without_a_defect_is_not_found():
    def sound(model, x, y, *, eps, norm, seed, samples, steps=1, restarts=1):
        return pgd(model, x, y, eps=eps, norm=norm, seed=seed, samples=samples, steps=steps, restarts=restarts)

    for _, fact, more in CASES:
        PROPERTIES[f"test_{fact}"](Attack("sound", sound, ""), "linf", **more)
