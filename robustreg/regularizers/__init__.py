"""The built-in regularizers, one a file, offered through the same hook as a stranger's."""

from ..hookspecs import hookimpl
from ..regularizer import Regularizer
from .affine import Affine, affine
from .ascent import anywhere, ascend, nearest, warmed
from .confidence_penalty import ConfidencePenalty, entropy
from .crop import Crop, crop
from .cutmix import CutMix, cut_and_mix
from .cutout import Cutout, box
from .distillation import Distillation
from .divergence import divergence, divergences
from .dropout import Dropout
from .early_stopping import EarlyStopping
from .elastic_net import ElasticNet
from .ema import EMA
from .feature_squeeze import FeatureSqueeze
from .fgsm_training import FGSMTraining
from .flip import Flip
from .grad_clip import GradClip
from .input_gradient import InputGradient, squared_input_gradient
from .input_noise import InputNoise
from .jacobian import Jacobian, squared_jacobian
from .l1 import L1, l1_norm, shrunk
from .l2 import L2, squared_l2_norm
from .label_noise import LabelNoise, flipped
from .label_smoothing import LabelSmoothing, smooth
from .max_norm import MaxNorm, shortened
from .mixup import Mixup, mix
from .none import Baseline
from .pgd_training import FGSMRandomStart, PGDTraining
from .plateau import Plateau
from .rand_augment import RandAugment
from .resized_crop import ResizedCrop, resized_crop
from .rotate import Rotate, rotate
from .sam import SAM
from .schedules import (
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    LearningRate,
    MultiStep,
    OneCycle,
    Polynomial,
    Restarts,
    Step,
    Warmup,
)
from .shift import Shift, shift
from .spectral_penalty import SpectralPenalty, power_iteration
from .swa import SWA
from .trades import Trades
from .warp import check_images, warp
from .weight_decay import WeightDecay

__all__ = [
    "EMA",
    "L1",
    "L2",
    "SAM",
    "SWA",
    "Affine",
    "Baseline",
    "ConfidencePenalty",
    "Constant",
    "Cosine",
    "Crop",
    "CutMix",
    "Cutout",
    "Cyclic",
    "Distillation",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "Exponential",
    "FGSMRandomStart",
    "FGSMTraining",
    "FeatureSqueeze",
    "Flip",
    "GradClip",
    "InputGradient",
    "InputNoise",
    "Jacobian",
    "LabelNoise",
    "LabelSmoothing",
    "LearningRate",
    "MaxNorm",
    "Mixup",
    "MultiStep",
    "OneCycle",
    "PGDTraining",
    "Plateau",
    "Polynomial",
    "RandAugment",
    "ResizedCrop",
    "Restarts",
    "Rotate",
    "Shift",
    "SpectralPenalty",
    "Step",
    "Trades",
    "Warmup",
    "WeightDecay",
    "affine",
    "anywhere",
    "ascend",
    "box",
    "check_images",
    "crop",
    "cut_and_mix",
    "divergence",
    "divergences",
    "entropy",
    "flipped",
    "l1_norm",
    "mix",
    "nearest",
    "power_iteration",
    "regularizers",
    "resized_crop",
    "rotate",
    "shift",
    "shortened",
    "shrunk",
    "smooth",
    "squared_input_gradient",
    "squared_jacobian",
    "squared_l2_norm",
    "warmed",
    "warp",
]


@hookimpl
def regularizers() -> list[type[Regularizer]]:
    """Offer the built-in regularizers."""
    return [
        Baseline,
        L1,
        L2,
        ElasticNet,
        Dropout,
        Shift,
        Flip,
        InputNoise,
        LabelSmoothing,
        Mixup,
        Constant,
        LearningRate,
        Step,
        Cosine,
        Warmup,
        EarlyStopping,
        FGSMTraining,
        FGSMRandomStart,
        PGDTraining,
        Trades,
        LabelNoise,
        Rotate,
        Affine,
        Crop,
        ResizedCrop,
        Cutout,
        CutMix,
        InputGradient,
        Jacobian,
        ConfidencePenalty,
        SpectralPenalty,
        WeightDecay,
        MultiStep,
        Exponential,
        Polynomial,
        Cyclic,
        OneCycle,
        Restarts,
        Plateau,
        SAM,
        MaxNorm,
        GradClip,
        EMA,
        SWA,
        Distillation,
        FeatureSqueeze,
        RandAugment,
    ]
