"""Cohorts: many runs, trained in one step where that is faster, with the results of training them one by one.

`train.py` is the way in; `trial.py` decides how many share a step, `stack.py` is that step. Nothing else knows about
cohorts: regularizers, hooks and the objective are those of a run alone.
"""

from .member import Member
from .train import train_cohort, train_many

__all__ = ["Member", "train_cohort", "train_many"]
