"""The attacks of other libraries, as functions from a network and points to who stands: `(n,)` booleans.

Each is called the way its documentation says, with all points in one batch. A library that is not installed is left
out. What a side returns is classified once more, so that all sides answer one question.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

Side = Callable[[], Tensor]
STEP = 2.5 / 40  # of PGD-40, in units of eps
QUERIES = 5000  # of Square


def stands(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return for each image whether it is classified correctly."""
    with torch.no_grad():
        return model(x).argmax(-1) == y


def fgsm_curve(model: nn.Module, x: Tensor, y: Tensor, grid: Iterable[float]) -> dict[str, Side]:
    """FGSM at every eps: `(len(grid), n)` booleans."""
    eps = list(grid)
    sides: dict[str, Side] = {}
    if lib := found("torchattacks"):
        sides["torchattacks"] = lambda: torch.stack([stands(model, lib.FGSM(model, eps=size)(x, y), y) for size in eps])
    if foolbox := found("foolbox"):
        attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
        sides["foolbox"] = lambda: ~attack(wrapped(foolbox, model, x), x, y, epsilons=eps)[2]
    if art := found("art.attacks.evasion"):
        sides["ART"] = lambda: torch.stack([by_art(art.FastGradientMethod, model, x, y, eps=size) for size in eps])
    return sides


def pgd40(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> dict[str, Side]:
    """PGD of 40 steps of eps/16 from a random start."""
    sides: dict[str, Side] = {}
    if lib := found("torchattacks"):
        pgd = lib.PGD(model, eps=eps, alpha=STEP * eps, steps=40, random_start=True)
        sides["torchattacks"] = lambda: stands(model, pgd(x, y), y)
    if foolbox := found("foolbox"):
        attack = foolbox.attacks.LinfPGD(steps=40, rel_stepsize=STEP, random_start=True)
        sides["foolbox"] = lambda: ~attack(wrapped(foolbox, model, x), x, y, epsilons=eps)[2]
    if art := found("art.attacks.evasion"):
        settings = {"eps": eps, "eps_step": STEP * eps, "max_iter": 40, "num_random_init": 1, "verbose": False}
        sides["ART"] = lambda: by_art(art.ProjectedGradientDescent, model, x, y, **settings)
    return sides


def apgd100(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> dict[str, Side]:
    """Auto-PGD on cross-entropy, 100 steps, one random start."""
    sides: dict[str, Side] = {}
    if lib := found("torchattacks"):
        apgd = lib.APGD(model, eps=eps, steps=100, loss="ce", seed=0)
        sides["torchattacks"] = lambda: stands(model, apgd(x, y), y)
    if base := found("pyautoattack.autopgd_base"):
        theirs = base.APGDAttack(model, n_iter=100, norm="Linf", eps=eps, seed=0, loss="ce", device=x.device.type)
        sides["pyautoattack"] = lambda: stands(model, theirs.perturb(x, y), y)
    if art := found("art.attacks.evasion"):
        settings = {"eps": eps, "eps_step": 2 * eps, "max_iter": 100, "nb_random_init": 1, "verbose": False}
        sides["ART"] = lambda: by_art(
            art.AutoProjectedGradientDescent, model, x, y, loss_type="cross_entropy", **settings
        )
    return sides


def ensemble(model: nn.Module, x: Tensor, y: Tensor, eps: float, queries: int = QUERIES) -> dict[str, Side]:
    """Auto-PGD, targeted Auto-PGD (nine targets) and Square on what is left. Foolbox and ART have no such ensemble."""
    sides: dict[str, Side] = {}
    if lib := found("torchattacks"):
        members = [
            lib.APGD(model, eps=eps, steps=100, loss="ce", seed=0),
            lib.APGDT(model, eps=eps, steps=100, seed=0, n_classes=10),
            lib.Square(model, eps=eps, n_queries=queries, seed=0),
        ]
        sides["torchattacks"] = lambda: stands(model, lib.MultiAttack(members)(x, y), y)
    if auto := found("pyautoattack"):

        def of_the_authors() -> Tensor:
            attacks = ["apgd-ce", "apgd-t", "square"]
            whole = auto.AutoAttack(model, eps=eps, version="custom", attacks=attacks, seed=0, device=x.device.type)
            whole.apgd.n_restarts, whole.square.n_queries = 1, queries
            return stands(model, whole.run_standard_evaluation(x, y, batch_size=len(x))[0], y)

        sides["pyautoattack"] = of_the_authors
    return sides


def found(name: str) -> Any:
    """Return a module, or None where it is not installed."""
    try:
        module: ModuleType = import_module(name)
    except ImportError:
        return None
    logging.getLogger("art").setLevel(logging.WARNING)
    logging.getLogger("auto-attack").setLevel(logging.WARNING)
    return module


def wrapped(foolbox: Any, model: nn.Module, x: Tensor) -> Any:
    """Return the network as Foolbox wants it."""
    return foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)


def by_art(attack: Any, model: nn.Module, x: Tensor, y: Tensor, **settings: Any) -> Tensor:
    """Return who stands after an attack of the Adversarial Robustness Toolbox, which works on NumPy arrays."""
    estimators = import_module("art.estimators.classification")
    classifier = estimators.PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=10,
        clip_values=(0, 1),
        device_type="gpu" if x.is_cuda else "cpu",
    )
    moved = attack(classifier, batch_size=len(x), **settings).generate(x.cpu().numpy(), y.cpu().numpy())
    return stands(model, torch.from_numpy(moved).to(x.device), y)
