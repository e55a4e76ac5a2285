"""Penalty on weights whose rows are not orthonormal."""

from collections.abc import Mapping

import torch
from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl
from robustreg.regularizer import scaled


def gram_gap(weight: Tensor) -> Tensor:
    """Return W W^T - I, or W^T W - I where that is the smaller matrix: `(n, n)`, n the shorter side of W.

    Args:
        weight: of two or more dimensions; W is `(outputs, all else)`.
    """
    matrix = weight.flatten(1)
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    return short @ short.mT - torch.eye(short.shape[0], dtype=weight.dtype, device=weight.device)


def orthogonality_gap(params: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of ||W W^T - I||_F**2 over all weights of two or more dimensions, a scalar.

    A matrix of more rows than columns cannot have orthonormal rows, and gets those of its columns: the value is less by
    a constant, rows - columns, and the gradient the same.
    """
    return torch.stack([gram_gap(value).square().sum() for value in params.values() if value.ndim > 1]).sum()


class Orthogonal(Regularizer):
    """Add `strength` times the sum over layers of ||W W^T - I||_F**2: weights that neither stretch nor shrink.

    Convolutions are taken as their kernels reshaped to (outputs, all else). All singular values are drawn to 1.

    Expected: clean accuracy the same or up a little, more where networks are deep; robust accuracy up a little where
    weights would have grown, down where they are drawn up to 1.
    Brock et al, Neural photo editing with introspective adversarial networks, 2017; Bansal et al, Can we gain more from
    orthogonality regularizations in training deep networks, 2018.
    """

    name = "orthogonal"
    kind = "weights"
    strength = Knob(1e-4, symbol="lambda", log=True, doc="factor of the sum of squared entries of W W^T - I")

    @hookimpl
    def penalty(self, params: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weighted sum."""
        return {self.name: scaled(self.strength, orthogonality_gap(params))}
