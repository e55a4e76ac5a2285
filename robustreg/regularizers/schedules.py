"""Learning-rate schedules: factors of the base learning rate over training. Several multiply."""

import math

from ..hookspecs import hookimpl
from ..regularizer import Knob, Regularizer


class Constant(Regularizer):
    """Hold the learning rate at `strength` times its base for the whole training; 0 leaves the base alone."""

    name = "constant"
    strength = Knob(0.1, high=1000, symbol="factor", log=True, doc="factor of the base learning rate")

    @hookimpl
    def learning_rate(self) -> float:
        """Return the factor."""
        return float(self.strength) or 1.0


class LearningRate(Regularizer):
    """Hold the learning rate at `strength` itself, whatever the base is: the learning rate as an arm; 0 is the base."""

    name = "learning_rate"
    strength = Knob(0.01, high=1000, symbol="lr", log=True, doc="learning rate")

    @hookimpl
    def learning_rate(self, base: float) -> float:
        """Return the factor that makes the base the wanted rate."""
        return float(self.strength) / base if float(self.strength) else 1.0


class Step(Regularizer):
    """Cut the learning rate by the share `strength` at each of `drops` evenly spaced points.

    He et al, Deep residual learning for image recognition, 2016, divide by 10 (a share of 0.9) at 1/2 and 3/4.
    """

    name = "step"
    strength = Knob(0.9, high=1, symbol="cut", doc="share of the learning rate taken away at each drop")
    drops = Knob(2, low=1, high=1000, doc="number of drops")

    @hookimpl
    def learning_rate(self, progress: float) -> float:
        """Return the factor after the drops so far."""
        return (1 - float(self.strength)) ** math.floor(progress * (self.drops + 1))


class Cosine(Regularizer):
    """Anneal the learning rate along half a cosine, from its base to 1 - `strength` of it.

    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, 2017 (without the restarts).
    """

    name = "cosine"
    strength = Knob(1.0, high=1, symbol="depth", doc="share of the learning rate that is gone at the end")

    @hookimpl
    def learning_rate(self, progress: float) -> float:
        """Return the factor at `progress`."""
        return 1 - float(self.strength) * (1 - math.cos(math.pi * progress)) / 2


class Warmup(Regularizer):
    """Raise the learning rate linearly from 0 to its base over the first `strength` of training.

    Goyal et al, Accurate, large minibatch SGD: training ImageNet in 1 hour, 2017.
    """

    name = "warmup"
    strength = Knob(0.1, high=1, symbol="share", doc="share of training spent warming up")

    @hookimpl
    def learning_rate(self, progress: float) -> float:
        """Return the factor at `progress`."""
        return min(1.0, progress / float(self.strength)) if float(self.strength) else 1.0
