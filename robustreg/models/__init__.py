"""The networks experiments use; each has its normalization as a layer and takes pixels in [0, 1]."""

from ..fitting import check_fits
from ..hookspecs import hookimpl
from .animalnet import animalnet, animalnet_dropout, big_animalnet
from .cnn import cnn
from .mlp import mlp
from .model import ModelSource, count_parameters
from .preact_resnet import preact_resnet18
from .resnet import resnet18
from .toy import linear, toy, toy_dropout

__all__ = [
    "ModelSource",
    "animalnet",
    "animalnet_dropout",
    "big_animalnet",
    "check_fits",
    "cnn",
    "count_parameters",
    "linear",
    "mlp",
    "models",
    "preact_resnet18",
    "resnet18",
    "toy",
    "toy_dropout",
]


@hookimpl
def models() -> list[ModelSource]:
    """Offer the built-in models."""
    return [
        ModelSource("mlp", mlp, "flatten, then linear layers with ReLU: hidden=128,64"),
        ModelSource("linear", linear, "one linear layer: logistic regression"),
        ModelSource("cnn", cnn, "3x3 convolutions with pooling, then one hidden linear layer"),
        ModelSource("animalnet", animalnet, "the tutorial's network, 128-32, ReLU"),
        ModelSource("big_animalnet", big_animalnet, "the tutorial's second network, 124-64, leaky ReLU"),
        ModelSource("animalnet_dropout", animalnet_dropout, "the tutorial's network with dropout, 248-210"),
        ModelSource("toy", toy, "the tutorial's regression network, 300-500, leaky ReLU"),
        ModelSource("toy_dropout", toy_dropout, "the tutorial's regression network with dropout, 300-500"),
        ModelSource("resnet18", resnet18, "torchvision's ResNet-18 with a stem for small images, untrained"),
        ModelSource("preact_resnet18", preact_resnet18, "pre-activation ResNet-18 for small images: width=64"),
    ]
