"""torchvision's ResNet-18, fitted to small images."""

from torch import nn

from ..errors import PluginError
from ..layers import Normalize


def resnet18(shape: tuple[int, ...], classes: int, *, mean: float = 0.5, std: float = 0.25) -> nn.Module:
    """Return an untrained ResNet-18 whose stem keeps images up to 64 pixels at full size.

    The 7x7 stride-2 convolution becomes 3x3 stride-1 and the first pooling is left out, as is usual for 32x32 images
    (He et al, Deep residual learning for image recognition, 2016, section 4.2).
    """
    try:
        from torchvision.models import resnet18 as build
    except (ImportError, RuntimeError) as error:
        raise PluginError(
            f"torchvision cannot be imported beside this torch: {error}."
            " Install both together: pip install -U torch torchvision"
        ) from error
    network = build(weights=None, num_classes=classes)
    if max(shape[1:]) <= 64:
        network.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    else:
        network.conv1 = nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(Normalize(mean, std), network)
