"""A small convolutional network."""

from torch import nn

from ..layers import Normalize


def cnn(
    shape: tuple[int, ...],
    classes: int,
    *,
    channels: tuple[int, ...] = (16, 32),
    hidden: int = 64,
    mean: float = 0.0,
    std: float = 1.0,
) -> nn.Module:
    """Return 3x3 convolutions, each halving the image, then one hidden linear layer.

    Args:
        shape: `(channels, height, width)` of one image.
        classes: number of logits.
        channels: of the convolutions.
        hidden: width of the linear layer.
        mean: subtracted from the pixels.
        std: the pixels are divided by it.
    """
    before, height, width = shape
    layers: list[nn.Module] = [Normalize(mean, std)] if (mean, std) != (0.0, 1.0) else []
    for after in channels:
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        if min(height, width) > 1:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        before = after
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(before * height * width, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )
