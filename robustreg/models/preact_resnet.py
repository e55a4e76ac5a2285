"""ResNet-18 with pre-activation, for images of about 32x32."""

from __future__ import annotations

from torch import Tensor, nn

from ..layers import Normalize

STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # channels over width, and the stride of the first block; two blocks each


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each behind batch normalization and ReLU, added to a path that nothing is applied to.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        same = stride == 1 and before == after
        self.shortcut = None if same else nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, after, height / stride, width / stride)` of `(batch, before, height, width)`."""
        active = self.norm1(x).relu()
        kept = x if self.shortcut is None else self.shortcut(active)
        moved: Tensor = self.conv2(self.norm2(self.conv1(active)).relu())
        return kept + moved


def preact_resnet18(
    shape: tuple[int, ...], classes: int, *, width: int = 64, mean: float = 0.5, std: float = 0.25
) -> nn.Module:
    """Return a pre-activation ResNet-18 whose stem keeps the image at full size: the network of robustness tables.

    For `(3, 32, 32)` and 10 classes at width 64 it has 11.17 million parameters. The last sum is normalized and
    activated before the pooling, as the paper says.

    Args:
        shape: `(channels, height, width)` of one image.
        classes: number of logits.
        width: channels of the first stage, at least 1; the others have 2, 4 and 8 times as many.
        mean: subtracted from the pixels.
        std: the pixels are divided by it.

    He et al, Identity mappings in deep residual networks, 2016.
    """
    layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, padding=1, bias=False)]
    before = width
    for times, stride in STAGES:
        layers += [PreActBlock(before, times * width, stride), PreActBlock(times * width, times * width, 1)]
        before = times * width
    layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    return nn.Sequential(Normalize(mean, std), *layers)
