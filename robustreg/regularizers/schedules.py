"""Learning-rate schedules: factors of the base learning rate over training. Several multiply."""

import math

from ..hookspecs import hookimpl
from ..regularizer import Knob, Regularizer

ROUNDING = 1e-9  # a step at 1/3 of training may come as 0.33333333333333331


class Constant(Regularizer):
    """Hold the learning rate at `strength` times its base for the whole training; 0 leaves the base alone."""

    name = "constant"
    kind = "schedule"
    strength = Knob(0.1, high=1000, symbol="factor", log=True, doc="factor of the base learning rate")

    @hookimpl
    def learning_rate(self) -> float:
        """Return the factor."""
        return float(self.strength) or 1.0


class LearningRate(Regularizer):
    """Hold the learning rate at `strength` itself, whatever the base is: the learning rate as an arm; 0 is the base."""

    name = "learning_rate"
    kind = "schedule"
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
    kind = "schedule"
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
    kind = "schedule"
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
    kind = "schedule"
    strength = Knob(0.1, high=1, symbol="share", doc="share of training spent warming up")

    @hookimpl
    def learning_rate(self, progress: float) -> float:
        """Return the factor at `progress`."""
        return min(1.0, progress / float(self.strength)) if float(self.strength) else 1.0


class MultiStep(Regularizer):
    """Cut the learning rate by the share `strength` at up to three points of training that you name.

    Formula: (1 - strength) ** (number of points passed). Expected: as `step`: clean accuracy the same or up,
    memorization down a little; the epochs after the first drop are where the robustness of adversarial training falls.
    He et al, Deep residual learning for image recognition, 2016 (0.9 at 1/2 and 3/4, the defaults); Zagoruyko and
    Komodakis, Wide residual networks, 2016 (0.8 at 0.3, 0.6 and 0.8).
    """

    name = "multistep"
    kind = "schedule"
    strength = Knob(0.9, high=1, symbol="cut", doc="share of the learning rate taken away at each point")
    first = Knob(0.5, high=1, doc="share of training after which the first cut comes; 1 is never")
    second = Knob(0.75, high=1, doc="the same for the second")
    third = Knob(1.0, high=1, doc="the same for the third")

    @hookimpl
    def learning_rate(self, progress: float) -> float:
        """Return the factor after the points passed so far."""
        passed = sum(progress > float(point) - ROUNDING for point in (self.first, self.second, self.third))
        return (1 - float(self.strength)) ** passed


class Exponential(Regularizer):
    """Let the learning rate decay by the same factor each step, until the share `strength` of it is gone at the end.

    Formula: (1 - strength) ** progress. Expected: clean accuracy the same or up a little over a constant rate;
    memorization down, since less is learned in as many epochs; robust accuracy the same.
    Robbins and Monro, A stochastic approximation method, 1951, is why it must fall; in this form it is torch's
    ExponentialLR.
    """

    name = "exponential"
    kind = "schedule"
    strength = Knob(0.9, high=0.999999, symbol="decay", doc="share of the learning rate that is gone at the end")

    @hookimpl
    def learning_rate(self, progress: float) -> float:
        """Return the factor at `progress`."""
        return (1 - float(self.strength)) ** progress


class Polynomial(Regularizer):
    """Let the learning rate fall to 0 as a power of the training that is left.

    Formula: (1 - progress) ** strength; 1 is a straight line. Expected: about as with `cosine`: clean accuracy the same
    or up over a constant rate, memorization down a little, robust accuracy the same.
    Liu et al, ParseNet: looking wider to see better, 2015 (a power of 0.9); Li et al, Budgeted training: rethinking
    deep neural network training under resource constraints, 2020 (the straight line).
    """

    name = "polynomial"
    kind = "schedule"
    strength = Knob(1.0, high=100, symbol="power", doc="power of the share of training that is left")

    @hookimpl
    def learning_rate(self, progress: float) -> float:
        """Return the factor at `progress`."""
        return (1 - progress) ** float(self.strength)


class Cyclic(Regularizer):
    """Move the learning rate in triangles between 1 - `strength` of its base, where it starts and ends, and its base.

    Formula: 1 - strength * |2 t - 1| at the share t of a cycle; with `halving` each triangle is half as high as the one
    before. Expected: clean and robust accuracy as with one fall, in fewer epochs; memorization down a little.
    Smith, Cyclical learning rates for training neural networks, 2017.
    """

    name = "cyclic"
    kind = "schedule"
    strength = Knob(0.9, high=1, symbol="depth", doc="share of the learning rate that is gone at the bottom")
    cycles = Knob(2, low=1, high=1000, doc="number of triangles")
    halving = Knob(False, doc="whether each triangle is half as high as the one before (triangular2)")

    @hookimpl
    def learning_rate(self, progress: float) -> float:
        """Return the factor at `progress`."""
        done = math.floor(progress * self.cycles)
        height = (1 - abs(2 * (progress * self.cycles - done) - 1)) / (2**done if self.halving else 1)
        return 1 - float(self.strength) * (1 - height)


class OneCycle(Regularizer):
    """Raise the learning rate to its base and let it fall to nearly nothing, along half cosines.

    Formula: 1 - strength * (1 - f), where f goes from 1 / `start` to 1 over the share `rise` of training, and then to
    1 / (start * end). Momentum stays as it is (the paper lowers it meanwhile). Expected: clean accuracy the same or up,
    also at learning rates that are too high for a constant one; memorization down a little, robust accuracy the same.
    Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates, 2019.
    """

    name = "one_cycle"
    kind = "schedule"
    strength = Knob(1.0, high=1, symbol="depth", doc="how much of the cycle is taken: 1 is all of it")
    rise = Knob(0.3, low=1e-6, high=1, doc="share of training in which the learning rate rises")
    start = Knob(25.0, low=1, high=1e6, doc="the base is so many times the learning rate at the start")
    end = Knob(1e4, low=1, high=1e12, doc="the learning rate at the start is so many times that at the end")

    @hookimpl
    def learning_rate(self, progress: float) -> float:
        """Return the factor at `progress`."""
        rise, low = float(self.rise), 1 / float(self.start)
        if progress < rise:
            factor = _half_cosine(low, 1, progress / rise)
        else:
            factor = _half_cosine(1, low / float(self.end), (progress - rise) / (1 - rise) if rise < 1 else 0)
        return 1 - float(self.strength) * (1 - factor)


class Restarts(Regularizer):
    """Anneal the learning rate along half a cosine several times, each time from its base to 1 - `strength` of it.

    Formula: 1 - strength * (1 - cos(pi t)) / 2 at the share t of a cycle; each cycle is `growth` times as long as the
    one before. Expected: as with `cosine`, and good networks at the end of every cycle.
    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, 2017.
    """

    name = "restarts"
    kind = "schedule"
    strength = Knob(1.0, high=1, symbol="depth", doc="share of the learning rate that is gone at the end of a cycle")
    cycles = Knob(2, low=1, high=100, doc="number of cycles; training ends with the last")
    growth = Knob(2, low=1, high=10, doc="how many times as long as the one before each cycle is")

    @hookimpl
    def learning_rate(self, progress: float) -> float:
        """Return the factor at `progress`."""
        left, length = progress * sum(self.growth**cycle for cycle in range(self.cycles)), 1
        for _ in range(self.cycles - 1):
            if left < length - ROUNDING:
                break
            left, length = left - length, length * self.growth
        return 1 - float(self.strength) * (1 - math.cos(math.pi * left / length)) / 2


def _half_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
