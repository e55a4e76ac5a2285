"""Attacks that are known by a name of their own and are settings of another one, and those that only probe."""

from __future__ import annotations

from .attack import Attack
from .deepfool import deepfool
from .fgsm import fgsm
from .noise import corner_noise, uniform_noise
from .pgd import pgd

# Goodfellow et al, Explaining and harnessing adversarial examples, 2015, in the l2 norm.
FGM = Attack(
    "fgm", fgsm, "FGSM in the l2 norm: one step along the gradient itself.", weak=True, norms=("l2",), together=True
)

# Wong et al, Fast is better than free, 2020; Tramer et al, Ensemble adversarial training, 2018.
RFGSM = Attack(
    "rfgsm",
    pgd,
    "FGSM from a random start: one step of 1.25 eps, projected.",
    weak=True,
    together=True,
    settings={"steps": 1, "travel": 1.25},
)

# Kurakin et al, Adversarial machine learning at scale, 2017: together their steps are 1.25 eps long.
BIM = Attack(
    "bim",
    pgd,
    "PGD from the clean image: the basic iterative method.",
    together=True,
    settings={"steps": 10, "travel": 1.25, "clean_start": True},
)

UNIFORM_NOISE = Attack(
    "uniform_noise",
    uniform_noise,
    "The worst of ten random images inside the threat model: no gradients.",
    weak=True,
    together=True,
)
CORNER_NOISE = Attack(
    "corner_noise",
    corner_noise,
    "The worst of ten images with every pixel moved as far as may be.",
    weak=True,
    together=True,
)
DEEPFOOL = Attack(
    "deepfool", deepfool, "Steps to the nearest boundary of the linearized model.", weak=True, together=True
)

NAMED = (FGM, RFGSM, BIM, UNIFORM_NOISE, CORNER_NOISE, DEEPFOOL)
