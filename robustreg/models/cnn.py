"""A small convolutional network."""

from torch import nn

from ..errors import UsageError
from ..layers import Normalize

CHANNELS = (16, 32)


def cnn(
    shape: tuple[int, ...],
    classes: int,
    *,
    channels: tuple[int, ...] = CHANNELS,
    hidden: int = 64,
    width: int = 0,
    depth: int = 0,
    mean: float = 0.0,
    std: float = 1.0,
) -> nn.Module:
    """Return 3x3 convolutions, each halving the image, then one hidden linear layer.

    Args:
        shape: `(channels, height, width)` of one image.
        classes: number of logits.
        channels: of the convolutions.
        hidden: width of the linear layer.
        width: channels of the first convolution, doubled by each further one, in place of `channels`; 16 when only
            `depth` is given.
        depth: number of convolutions, in place of `channels`; 2 when only `width` is given.
        mean: subtracted from the pixels.
        std: the pixels are divided by it.

    Raises:
        UsageError: for `channels` together with `width` or `depth`.
    """
    if width or depth:
        if tuple(channels) != CHANNELS:
            raise UsageError(f"cnn: give channels={','.join(map(str, channels))} or width and depth, not both")
        channels = tuple((width or CHANNELS[0]) * 2**layer for layer in range(depth or len(CHANNELS)))
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
