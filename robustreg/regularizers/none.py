"""The baseline."""

from ..regularizer import Knob, Regularizer


class Baseline(Regularizer):
    """Nothing: empirical risk minimization, what every other arm is compared with."""

    name = "none"
    strength = Knob(0.0, high=0.0, doc="has no effect; the baseline has no knob")
