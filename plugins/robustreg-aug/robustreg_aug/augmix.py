"""AugMix: agreement between an image and blends of what chains of transformations make of it."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl
from robustreg.hookspecs import Predict
from robustreg.noise import Rng
from robustreg.regularizer import scaled
from robustreg.regularizers import check_images

from .operations import chain


def views(x: Tensor, rng: Rng, *, severity: Tensor, width: int = 3, depth: int = -1) -> Tensor:
    """Return a blend of each image with `width` chains of transformations of it.

    The chains are blended with Dirichlet(1) shares, and the result with the image by a uniform share.

    Args:
        x: `(batch, channels, height, width)` floats in [0, 1].
        rng: randomness.
        severity: a scalar in [0.1, 10], the highest level of a transformation.
        width: number of chains.
        depth: transformations in each; 1 to 3, drawn, if it is -1.
    """
    many = chain(x.repeat(width, 1, 1, 1), severity, rng.split("chain"), depth)
    lots = -rng.uniform(width, len(x), 1, 1, 1).to(x.dtype).clamp_min(2.0**-25).log()  # shares of exponentials
    blend = (lots / lots.sum(0) * many.reshape(width, *x.shape)).sum(0)
    share = rng.uniform(len(x), 1, 1, 1).to(x.dtype)
    return x + share * (blend - x)


def disagreement(*logits: Tensor) -> Tensor:
    """Return the mean Jensen-Shannon divergence, in nats, of the predictions of `(batch, classes)` logits, a scalar."""
    log_p = torch.stack([one.log_softmax(-1) for one in logits])
    gap = log_p.logsumexp(0) - math.log(len(logits)) - log_p
    # The rows of each add up to 1, so this is sum p * -gap, without its cancellation where all are close.
    return (log_p.exp() * (gap.expm1() - gap)).sum(-1).mean()


class AugMix(Regularizer):
    """Add `strength` times the Jensen-Shannon divergence of the predictions of an image and of two AugMix views of it.

    A view is m * x + (1 - m) * sum_i w_i chain_i(x), with m uniform, w Dirichlet(1) over `width` chains, and in a chain
    1 to 3 of: autocontrast, equalize, posterize, solarize, rotation, shears and shifts, none of which is a corruption
    of the usual benchmarks. The cross-entropy is of the images as they are, as in the paper. All transformations are
    drawn image by image. The views share one forward pass, so BatchNorm sees them beside each other and apart from x.

    Expected: accuracy under corruptions up a lot, calibration under shift better, clean accuracy the same or up a
    little; robust accuracy hardly changed; three times the cost of the network.
    Hendrycks et al, AugMix: a simple data processing method to improve robustness and uncertainty, 2020.
    """

    name = "augmix"
    kind = "augmentation"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    strength = Knob(12.0, symbol="lambda", log=True, doc="weight of the divergence")
    severity = Knob(3.0, low=0.1, high=10, doc="highest level of a transformation")
    width = Knob(3, low=1, high=10, doc="chains in a view")
    depth = Knob(-1, low=-1, high=10, doc="transformations in a chain; -1 draws 1 to 3")

    @hookimpl
    def penalty(self, x: Tensor, logits: Tensor, predict: Predict, rng: Rng) -> Mapping[str, Tensor]:
        """Return the weighted divergence."""
        check_images(x, self.name)
        how = {"severity": self.severity, "width": self.width, "depth": self.depth}
        both = views(torch.cat((x, x)), rng, **how)
        return {self.name: scaled(self.strength, disagreement(logits, *predict(both).chunk(2)))}
