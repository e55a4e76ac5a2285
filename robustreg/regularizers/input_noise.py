"""Gaussian noise on the pixels."""

from torch import Tensor

from ..hookspecs import hookimpl
from ..noise import Rng
from ..regularizer import Knob, Regularizer, scaled


class InputNoise(Regularizer):
    """Add Gaussian noise with standard deviation `strength` to the training images, clipped to [0, 1].

    Expected: a little robustness, much less sensitivity to random noise, less memorization.
    Bishop, Training with noise is equivalent to Tikhonov regularization, 1995.
    """

    name = "input_noise"
    kind = "augmentation"
    strength = Knob(0.15, high=10, symbol="sigma", doc="standard deviation in pixel units")

    @hookimpl
    def batch(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the noisy images and their labels."""
        noise = rng.normal(*x.shape).to(x.dtype)
        return (x + scaled(self.strength, noise)).clamp(0, 1), y
