"""Cohorts: many runs, trained in one step where that is faster, with the results of training them one by one.

`train.py` is the way in; `trial.py` decides how many share a step, `stack.py` is that step. Regularizers and hooks are
those of a run alone and know of no cohort. So is the objective, but for the base loss: in a stack (`stacked`) it takes
that of all runs at once (`base_losses`), the same but for rounding.
"""

from .member import Member
from .train import train_cohort, train_many

__all__ = ["Member", "train_cohort", "train_many"]
