"""Images sampled between their pixels: what turns, zooms and crops them."""

import torch
from torch import Tensor
from torch.nn import functional as F


def sample(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return images sampled bilinearly at given places, each image at its own; outside they are 0.

    Args:
        x: `(batch, channels, height, width)`.
        rows: `(batch, height, width)` places in pixels; 0 is the middle of the first row.
        columns: the same for columns.
    """
    height, width = x.shape[2:]
    grid = torch.stack(((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1), -1)
    return F.grid_sample(x, grid, align_corners=False)


def warp(x: Tensor, matrix: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Return images moved linearly around their middle and then shifted; what comes in from outside is 0.

    Args:
        x: `(batch, channels, height, width)`.
        matrix: `(2, 2, batch)`; maps (right, down) of a pixel of the result to that of its source, from the middle.
        right: `(batch,)` shift in pixels, fractions too.
        down: `(batch,)` shift in pixels.
    """
    height, width = x.shape[2:]
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    # Not F.affine_grid, whose matrix product has no rule for vmap.
    across = (torch.arange(width, device=x.device, dtype=x.dtype) - middle_column - right[:, None])[:, None]
    along = (torch.arange(height, device=x.device, dtype=x.dtype) - middle_row - down[:, None])[:, :, None]
    (a, b), (c, d) = ((entry[:, None, None] for entry in line) for line in matrix)
    return sample(x, c * across + d * along + middle_row, a * across + b * along + middle_column)


def check_images(x: Tensor, name: str) -> None:
    """Raise a ValueError that names the regularizer unless `x` is `(batch, channels, height, width)`."""
    if x.ndim != 4:
        raise ValueError(f"{name} needs images (batch, channels, height, width), got {tuple(x.shape)}")
