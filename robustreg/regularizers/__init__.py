"""The built-in regularizers, one a file, offered through the same hook as a stranger's."""

from ..hookspecs import hookimpl
from ..regularizer import Regularizer
from .dropout import Dropout
from .early_stopping import EarlyStopping
from .elastic_net import ElasticNet
from .fgsm_training import FGSMTraining
from .flip import Flip
from .input_noise import InputNoise
from .l1 import L1, l1_norm
from .l2 import L2, squared_l2_norm
from .label_smoothing import LabelSmoothing, smooth
from .mixup import Mixup, mix
from .none import Baseline
from .schedules import Constant, Cosine, LearningRate, Step, Warmup
from .shift import Shift, shift

__all__ = [
    "L1",
    "L2",
    "Baseline",
    "Constant",
    "Cosine",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "FGSMTraining",
    "Flip",
    "InputNoise",
    "LabelSmoothing",
    "LearningRate",
    "Mixup",
    "Shift",
    "Step",
    "Warmup",
    "l1_norm",
    "mix",
    "regularizers",
    "shift",
    "smooth",
    "squared_l2_norm",
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
    ]
